//! The guide, page by page: its links lead somewhere, and its commands do what it says they do.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

fn pages() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(guide())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    pages.sort();
    pages
}

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
struct Reader<'a> {
    page: String,
    folder: &'a Path,
    coordinator: Option<String>,
    servers: Vec<Server>,
}

impl<'a> Reader<'a> {
    fn new(page: &str, folder: &'a Path) -> Self {
        Self {
            page: page.to_owned(),
            folder,
            coordinator: None,
            servers: Vec::new(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("asterism"), "{}: {line}", self.page);
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
        command
            .args(words)
            .current_dir(self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env_remove("ASTERISM_COORDINATOR");
        if let Some(url) = &self.coordinator {
            command.env("ASTERISM_COORDINATOR", url);
        }
        command
    }

    /// Runs a server on a free port, until it says how it is called.
    fn serve(&mut self, line: &str, expected: &[&str]) {
        let mut command = self.command(line);
        command.args(["--port", "0", "--threads", "1"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let url = line.split_once("http://localhost:").map(|(_, rest)| {
                rest.chars()
                    .take_while(char::is_ascii_digit)
                    .collect::<String>()
            });
            said.push(line);
            if let Some(port) = url {
                self.coordinator = Some(format!("http://127.0.0.1:{port}"));
                break;
            }
        }
        self.servers.push(Server(child));
        self.compare(line, expected, &said);
    }

    fn run(&self, line: &str, expected: &[&str]) {
        let output = self.command(line).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {line}: {talk}", self.page);
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

    fn follow(&mut self, text: &str) -> usize {
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
                    self.run(line, expected);
                }
                commands += 1;
            }
        }
        commands
    }
}

#[test]
fn every_command_does_what_the_page_says() {
    let mut commands = 0;
    let folder = tempfile::tempdir().unwrap();
    for page in pages() {
        let text = fs::read_to_string(guide().join(&page)).unwrap();
        commands += Reader::new(&page, folder.path()).follow(&text);
    }
    assert!(commands >= 10, "only {commands} commands were found");
}

#[test]
fn every_link_leads_to_a_page_and_every_page_is_in_the_summary() {
    let pages: BTreeSet<String> = pages().into_iter().collect();
    let mut listed = BTreeSet::from(["SUMMARY.md".to_owned()]);
    for page in &pages {
        let text = fs::read_to_string(guide().join(page)).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap_or_default();
            if target.starts_with("https://") || target.is_empty() {
                continue;
            }
            assert!(pages.contains(target), "{page}: there is no page {target}");
            if page == "SUMMARY.md" {
                listed.insert(target.to_owned());
            }
        }
    }
    assert_eq!(
        listed, pages,
        "the summary lists other pages than there are"
    );
}
