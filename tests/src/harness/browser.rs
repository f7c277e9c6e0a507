//! Chromium, driven by chromedriver.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use serde_json::json;

/// Longer than a page takes to show what it has, also where the machine has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A headless Chromium with an empty profile.
pub struct Browser {
    driver: Child,
    /// The window.
    pub client: Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// If chromedriver or Chromium do not start: `cargo xtask test` installs them where it can.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more switches, such as `--force-dark-mode`.
    ///
    /// # Panics
    /// As [`Browser::start`].
    pub async fn start_with(switches: &[&str]) -> Self {
        // The page that tests open has to be there.
        let _panel = super::panel();
        Self::launch(switches).await
    }

    /// Starts one for a page that is not the panel.
    ///
    /// # Panics
    /// If chromedriver or Chromium do not start.
    pub async fn launch(switches: &[&str]) -> Self {
        let program = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".into());
        let mut command = Command::new(&program);
        let child = command
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = child
            .unwrap_or_else(|e| panic!("{program} does not start: {e}; run `cargo xtask test`"));
        let stdout = BufReader::new(driver.stdout.take().expect("stdout is piped"));
        let port = stdout
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split("started successfully on port ")
                    .nth(1)
                    .map(|p| p.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says its port");
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-dev-shm-usage".into(),
            "--window-size=1280,900".into(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        args.extend(switches.iter().map(|s| (*s).to_owned()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let capabilities = capabilities.as_object().expect("an object").clone();
        let client = ClientBuilder::new(hyper_connector())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("Chromium starts");
        Self {
            driver,
            client,
            _profile: profile,
        }
    }

    /// Opens a page.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub async fn open(&self, url: &str) {
        self.client
            .goto(url)
            .await
            .unwrap_or_else(|e| panic!("{url} does not open: {e}"));
    }

    /// The element at this XPath.
    ///
    /// # Panics
    /// If there is none within a minute.
    async fn element(&self, path: &str) -> Element {
        let wait = self.client.wait().at_most(PATIENCE);
        let found = wait.for_element(Locator::XPath(path)).await;
        found.unwrap_or_else(|e| panic!("there is no {path}: {e}"))
    }

    /// Presses the button with this text.
    ///
    /// # Panics
    /// If there is none within a minute.
    pub async fn press(&self, text: &str) {
        let path = format!("//button[contains(normalize-space(.), '{text}') and not(@disabled)]");
        let button = self.element(&path).await;
        // Where a browser scrolls to by itself, what sticks to the top may lie over it.
        let place = serde_json::to_value(&button).expect("an element has a name");
        let middle = "arguments[0].scrollIntoView({ block: 'center' })";
        let scrolled = self.client.execute(middle, vec![place]).await;
        scrolled.unwrap_or_else(|e| panic!("the button {text:?} is gone: {e}"));
        button
            .click()
            .await
            .unwrap_or_else(|e| panic!("the button {text:?} cannot be pressed: {e}"));
    }

    /// Moves the slider with this label to its lower end, by its keyboard.
    ///
    /// # Panics
    /// If there is none within a minute.
    pub async fn slide_down(&self, label: &str) {
        // The Home key, as WebDriver names it.
        let path =
            format!("//label[contains(normalize-space(.), '{label}')]//input[@type='range']");
        self.give(&path, "\u{e011}").await;
    }

    /// Types into the element at this XPath; into a file input, the paths of files, a line each.
    ///
    /// # Panics
    /// If there is none within a minute.
    pub async fn give(&self, path: &str, text: &str) {
        let given = self.element(path).await.send_keys(text).await;
        given.unwrap_or_else(|e| panic!("{path} takes nothing: {e}"));
    }

    /// Types into the field at this XPath, instead of what it has.
    ///
    /// # Panics
    /// If there is none within a minute.
    pub async fn give_instead(&self, path: &str, text: &str) {
        let cleared = self.element(path).await.clear().await;
        cleared.unwrap_or_else(|e| panic!("{path} cannot be emptied: {e}"));
        self.give(path, text).await;
    }

    /// Chooses this of the page's only list of choices.
    ///
    /// # Panics
    /// If there is none within a minute, or not this one.
    pub async fn choose(&self, label: &str) {
        let chosen = self.element("//select").await.select_by_label(label).await;
        chosen.unwrap_or_else(|e| panic!("{label:?} is no choice: {e}"));
    }

    /// The visible text of the page.
    ///
    /// # Panics
    /// If the window is gone.
    pub async fn text(&self) -> String {
        let text = self
            .client
            .execute("return document.body.innerText", vec![])
            .await
            .expect("the page answers");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Processor time that each Web Worker took so far, in microseconds, by the number of its thread: unlike what a clock says,
    /// it does not depend on what else the machine does. Empty where the system does not tell (it is Linux that does).
    #[must_use]
    pub fn worker_cpu_us(&self) -> BTreeMap<u32, f64> {
        let profile = self._profile.path().display().to_string();
        let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let mut found = BTreeMap::new();
        for process in entries(Path::new("/proc")) {
            let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
            if number(&process).is_none() || !String::from_utf8_lossy(&command).contains(&profile) {
                continue;
            }
            for thread in entries(&process.join("task")) {
                let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
                let spent = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
                let nanoseconds = spent
                    .split(' ')
                    .next()
                    .and_then(|ns| ns.parse::<f64>().ok());
                if name.trim() == "DedicatedWorker"
                    && let (Some(thread), Some(nanoseconds)) = (number(&thread), nanoseconds)
                {
                    found.insert(thread, nanoseconds / 1e3);
                }
            }
        }
        found
    }

    /// Ends the browser without goodbye, as a crash does.
    pub fn crash(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Chromium is chromedriver's child and outlives its kill: end it by its profile.
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let _ = Command::new("pkill")
            .args(["-KILL", "-f", "--", &profile])
            .status();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is in a folder, if there is one.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn hyper_connector() -> hyper_util::client::legacy::connect::HttpConnector {
    hyper_util::client::legacy::connect::HttpConnector::new()
}
