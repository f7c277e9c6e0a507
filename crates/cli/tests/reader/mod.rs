//! Somebody who reads a page and does what it says: files are saved, commands run, what they print is compared.
//!
//! A `console` block has commands (`$ ` before each) and how their output has to begin, line by line. Its info line may
//! say `serve`, for what runs until the page ends, and `exit=N`, for commands that are to fail; then what they say on
//! standard error is compared. A block with `file=NAME` is a file.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// What a fenced block of a page says of itself, and its lines.
struct Block {
    line: usize,
    info: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                open = Some(Block {
                    line: index + 1,
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// A server of the page, ended with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A reader who follows one page, with the files of the pages before it.
pub(crate) struct Reader<'a> {
    page: String,
    folder: &'a Path,
    coordinator: Option<String>,
    /// The repository's target folder, where builders and compiled packages are kept for the next time; if not, all of it is
    /// in the reader's own folder.
    target: Option<&'a Path>,
    servers: Vec<Server>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(page: &str, folder: &'a Path, target: Option<&'a Path>) -> Self {
        Self {
            page: page.to_owned(),
            folder,
            coordinator: None,
            target,
            servers: Vec::new(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let words = words(line);
        let (program, args) = words.split_first().expect("a command has a first word");
        let mut command = match program.as_str() {
            "asterism" => Command::new(env!("CARGO_BIN_EXE_asterism")),
            other => Command::new(other),
        };
        command
            .args(args)
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("XDG_DATA_HOME", self.folder.join("share"))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env_remove("ASTERISM_COORDINATOR");
        if let Some(target) = self.target {
            command
                .env("CARGO_TARGET_DIR", target.join("tmp/readmes"))
                .env("XDG_CACHE_HOME", target.join("tools/cache"));
        }
        if let Some(url) = &self.coordinator {
            command.env("ASTERISM_COORDINATOR", url);
        }
        command
    }

    /// Runs a server on a free port, until it says how it is called.
    fn serve(&mut self, line: &str, expected: &[&str]) {
        if line.starts_with("python3 ") {
            return self.serve_files(line);
        }
        let mut command = self.command(line);
        command.args(["--port", "0", "--threads", "1"]);
        let mut child = started(&mut command);
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let port = port_after(&line, "http://localhost:");
            said.push(line);
            if let Some(port) = port {
                self.coordinator = Some(format!("http://127.0.0.1:{port}"));
                break;
            }
        }
        self.servers.push(Server(child));
        self.compare(line, expected, &said);
    }

    /// A file server on a free port instead of the page's, which the page's files name.
    fn serve_files(&mut self, line: &str) {
        let (rest, wanted) = line.rsplit_once(' ').expect("a port at the end");
        let mut command = self.command(&format!("{rest} 0 --bind 127.0.0.1"));
        let mut child = started(command.env("PYTHONUNBUFFERED", "1"));
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        self.servers.push(Server(child));
        let port = port_after(&said, " port ").unwrap_or_else(|| panic!("no port in {said:?}"));
        for entry in fs::read_dir(self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let named = format!("localhost:{wanted}");
                fs::write(&path, text.replace(&named, &format!("127.0.0.1:{port}"))).unwrap();
            }
        }
    }

    fn run(&self, line: &str, exit: i32, expected: &[&str]) {
        let (command, file) = match line.split_once(" > ") {
            Some((command, file)) => (command, Some(file)),
            None => (line, None),
        };
        let output = self
            .command(command)
            .output()
            .unwrap_or_else(|error| panic!("{}: {line}: {error}", self.page));
        let (mut data, talk) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{}: {line}: {talk}",
            self.page
        );
        if let Some(file) = file {
            fs::write(self.folder.join(file), std::mem::take(&mut data)).unwrap();
        }
        let said = if exit == 0 {
            String::from_utf8(data).unwrap()
        } else {
            talk.into_owned()
        };
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        self.compare(line, expected, &said);
    }

    /// Each line has to begin as the page says.
    fn compare(&self, line: &str, expected: &[&str], said: &[String]) {
        for (index, expected) in expected.iter().enumerate() {
            let found = said.get(index).map_or("", String::as_str);
            assert!(
                found.starts_with(expected),
                "{}: {line}: line {} is {found:?} and not {expected:?}",
                self.page,
                index + 1
            );
        }
    }

    /// Does all that a page says; how many commands there were.
    pub(crate) fn follow(&mut self, text: &str) -> usize {
        let mut commands = 0;
        for block in blocks(text) {
            let mut info = block.info.split_whitespace();
            let language = info.next().unwrap_or_default();
            let rest: Vec<&str> = info.collect();
            if let Some(name) = rest.iter().find_map(|word| word.strip_prefix("file=")) {
                fs::write(self.folder.join(name), &block.text).unwrap();
            }
            if language != "console" {
                assert!(
                    !block.text.contains("$ "),
                    "{}:{}: a command that nobody runs",
                    self.page,
                    block.line
                );
                continue;
            }
            let exit = rest.iter().find_map(|word| word.strip_prefix("exit="));
            let exit = exit.map_or(0, |code| code.parse().expect("an exit code"));
            let lines: Vec<&str> = block.text.lines().collect();
            let starts: Vec<usize> = (0..lines.len())
                .filter(|index| lines[*index].starts_with("$ "))
                .collect();
            assert_eq!(starts.first(), Some(&0), "{}:{}", self.page, block.line);
            for (index, start) in starts.iter().enumerate() {
                let end = starts.get(index + 1).copied().unwrap_or(lines.len());
                let (line, expected) = (&lines[*start][2..], &lines[start + 1..end]);
                if rest.contains(&"serve") {
                    self.serve(line, expected);
                } else {
                    self.run(line, exit, expected);
                }
                commands += 1;
            }
        }
        commands
    }
}

fn started(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn port_after(line: &str, before: &str) -> Option<String> {
    let (_, rest) = line.split_once(before)?;
    Some(rest.chars().take_while(char::is_ascii_digit).collect())
}

/// Words as a shell splits them: between quotes everything is as it stands.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![None::<String>], None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                words.last_mut().unwrap().get_or_insert_default();
            }
            (None, ' ') => words.push(None),
            (_, c) => words.last_mut().unwrap().get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote does not end: {line}");
    words.into_iter().flatten().collect()
}
