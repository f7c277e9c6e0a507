//! Coordinators on one journal in PostgreSQL, of which any is killed: the others go on.

use std::os::unix::fs::symlink;

use super::*;

/// Kills of the test: after most of them the other one has to take over, which takes it some seconds.
const KILLS: u32 = 6;

/// Five seconds are what is promised, and much more for a machine that is busy with other tests.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(30);

/// Waits until this coordinator answers for the one that holds the journal, and says how long that took.
async fn decides(url: &str, seed: u64) -> Duration {
    let begun = Instant::now();
    loop {
        if let Ok(health) = reqwest::get(format!("{url}/health")).await
            && health.status() == 200
        {
            let health: Json = health.json().await.unwrap();
            if health["status"] != "trouble" {
                return begun.elapsed();
            }
        }
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: nobody decides");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Folders of coordinators that have their blobs in common.
fn datas<const N: usize>(folder: &Path, names: [&str; N]) -> [PathBuf; N] {
    let blobs = folder.join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    names.map(|name| {
        let data = folder.join(name);
        asterism_coordinator::make_private_folder(&data).unwrap();
        symlink(&blobs, data.join("blobs")).unwrap();
        data
    })
}

/// Starts one of several coordinators. They have one token: whoever asks through one of them is who he is for the others.
fn begin(keeps: &Keeps, data: &Path, listen: &str, more: &[&str]) -> Served {
    let mut args = keeps.args(listen, data);
    args.extend(["--operator-token", "0123456789abcdef"].map(str::to_owned));
    let args: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    Served::start(data.parent().unwrap(), &args).0
}

/// Waits until this coordinator answers for all partitions, and says how long that took.
async fn answers_for_all(url: &str, seed: u64) -> Duration {
    let begun = Instant::now();
    loop {
        if let Ok(listed) = reqwest::get(format!("{url}/workflows")).await
            && listed.status() == 200
        {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: not all are held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_any_of_three_that_share_partitions_is_killed_the_others_go_on() {
    const PARTITIONS: [&str; 2] = ["--partitions", "5"];
    let server = Postgres::start();
    let journal = server.database("any");
    let kills = kills_or(KILLS);
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = since.as_nanos() as u64 | 1;
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let datas = datas(folder.path(), ["one", "two", "three"]);
    let keeps = Keeps::Elsewhere(journal.clone());
    let mut coordinators = datas
        .each_ref()
        .map(|data| Some(begin(&keeps, data, "127.0.0.1:0", &PARTITIONS)));
    let urls: Vec<String> = coordinators
        .iter()
        .flatten()
        .map(|coordinator| coordinator.url.clone())
        .collect();
    let added = post(format!("{}/components?name=math", urls[1]), math()).await;
    assert_eq!(added.status(), 201);

    let mut load = Load::start(folder.path(), &urls, Duration::from_millis(2) * kills);
    let (mut before, mut longest) = (0, Duration::ZERO);
    for _ in 0..kills {
        before = more_than(before, &load.acknowledged, seed).await;
        tokio::time::sleep(Duration::from_millis(random.below(1_500))).await;
        let which = random.below(3) as usize;
        coordinators[which] = None;
        for other in (0..3).filter(|other| *other != which) {
            longest = longest.max(answers_for_all(&urls[other], seed).await);
        }
        let listen = urls[which].trim_start_matches("http://");
        coordinators[which] = Some(begin(&keeps, &datas[which], listen, &PARTITIONS));
        let _ = answers_for_all(&urls[which], seed).await;
    }
    let (answered, acknowledged) = load.stop().await;
    // All tell the same.
    for url in &urls {
        all_done(url, &acknowledged, || {}, seed).await;
    }
    drop((load, coordinators));
    let computed = computed_in(journal, seed).await;
    assert!(computed.len() > acknowledged.len());
    let partitions: std::collections::BTreeSet<u64> =
        acknowledged.keys().map(|run| run % 5).collect();
    assert!(partitions.len() > 1, "all runs are in {partitions:?}");
    eprintln!(
        "{kills} kills, {} ms until the others had all partitions at most: {} workflows acknowledged and {answered} answered, {} tasks computed",
        longest.as_millis(),
        acknowledged.len(),
        computed.len()
    );
    assert!(longest < TAKEN_OVER_MAX, "it took {longest:?}, seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_either_of_two_coordinators_is_killed_the_other_goes_on() {
    let server = Postgres::start();
    let journal = server.database("either");
    let kills = kills_or(KILLS);
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = since.as_nanos() as u64 | 1;
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let datas = datas(folder.path(), ["one", "two"]);
    let keeps = Keeps::Elsewhere(journal.clone());
    let begin = |which: usize, listen: &str| begin(&keeps, &datas[which], listen, &[]);
    let first = begin(0, "127.0.0.1:0");
    let second = begin(1, "127.0.0.1:0");
    let urls = [first.url.clone(), second.url.clone()];
    let listens = urls
        .each_ref()
        .map(|url| url.trim_start_matches("http://").to_owned());
    let mut coordinators = [Some(first), Some(second)];
    // Through the one that stands by.
    let added = post(format!("{}/components?name=math", urls[1]), math()).await;
    assert_eq!(added.status(), 201);

    let mut load = Load::start(folder.path(), &urls, Duration::from_millis(2) * kills);
    let (mut before, mut holder) = (0, 0);
    let mut longest = Duration::ZERO;
    for _ in 0..kills {
        before = more_than(before, &load.acknowledged, seed).await;
        tokio::time::sleep(Duration::from_millis(random.below(1_500))).await;
        let which = if random.below(4) == 0 {
            1 - holder
        } else {
            holder
        };
        coordinators[which] = None;
        let took = decides(&urls[1 - which], seed).await;
        if which == holder {
            holder = 1 - which;
            longest = longest.max(took);
        }
        coordinators[which] = Some(begin(which, &listens[which]));
        let _ = decides(&urls[which], seed).await;
    }
    let (answered, acknowledged) = load.stop().await;
    // Both tell the same.
    for url in &urls {
        all_done(url, &acknowledged, || {}, seed).await;
    }
    drop((load, coordinators));
    let computed = computed_in(journal, seed).await;
    assert!(computed.len() > acknowledged.len());
    eprintln!(
        "{kills} kills, {} ms until the other one decided at most: {} workflows acknowledged and {answered} answered, {} tasks computed",
        longest.as_millis(),
        acknowledged.len(),
        computed.len()
    );
    assert!(longest < TAKEN_OVER_MAX, "it took {longest:?}, seed {seed}");
}
