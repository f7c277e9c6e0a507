use asterism_protocol::{blob_cid, limits::FILES_BYTES_MAX};

use super::*;
use crate::tests::{borrowed, one};

const PREOPENS: &str = "wasi:filesystem/preopens@0.2.0";
const TYPES: &str = "wasi:filesystem/types@0.2.6";
const STREAMS: &str = "wasi:io/streams@0.2.0";

fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), Value::String((*text).to_owned())));
    Tree::new::<Vec<u8>>(&files.collect(), &BTreeMap::new()).unwrap()
}

/// A world with files, and its root.
fn world() -> (World, Val) {
    let files = [
        ("data/in.csv", "a,b\n1,2\n"),
        ("data/more/deep.txt", "deep"),
        ("data-2", "beside"),
        ("data.txt", ""),
        ("z", "last"),
    ];
    let mut world = World::new(content_cid(b"an instruction"), tree(&files));
    let Val::List(roots) = one(&mut world, PREOPENS, "get-directories", &[]) else {
        panic!("directories are a list")
    };
    let [Val::Tuple(root)] = &roots[..] else {
        panic!("{roots:?} is not one directory")
    };
    assert_eq!(root[1], Val::String("/".into()));
    let root = borrowed(&root[0]);
    (world, root)
}

fn call(world: &mut World, func: &str, descriptor: &Val, args: &[Val]) -> Val {
    let args = [std::slice::from_ref(descriptor), args].concat();
    one(world, TYPES, &format!("[method]descriptor.{func}"), &args)
}

fn text(text: &str) -> Val {
    Val::String(text.into())
}

fn follow() -> Val {
    Val::Flags(vec![true])
}

/// `create`, `directory`, `exclusive`, `truncate`; and whether to write.
fn open_args(path: &str, how: [bool; 4], write: bool) -> [Val; 4] {
    let rights = vec![true, write, false, false, false, false];
    let how = Val::Flags(how.to_vec());
    [follow(), text(path), how, Val::Flags(rights)]
}

fn failed(code: ErrorCode) -> Val {
    Val::Result(Err(Some(Box::new(Val::Enum(code as u32)))))
}

fn payload(val: Val) -> Val {
    match val {
        Val::Result(Ok(Some(val))) => *val,
        other => panic!("{other:?} is not ok"),
    }
}

/// Opens what is there.
fn opened(world: &mut World, base: &Val, path: &str) -> Val {
    borrowed(&payload(call(
        world,
        "open-at",
        base,
        &open_args(path, [false; 4], false),
    )))
}

fn names(world: &mut World, directory: &Val) -> Vec<(String, bool)> {
    let listing = borrowed(&payload(call(world, "read-directory", directory, &[])));
    let mut found = Vec::new();
    loop {
        let next = "[method]directory-entry-stream.read-directory-entry";
        match payload(one(world, TYPES, next, std::slice::from_ref(&listing))) {
            Val::Option(None) => return found,
            Val::Option(Some(entry)) => match *entry {
                Val::Record(fields) => match &fields[..] {
                    [Val::Enum(kind), Val::String(name)] => found.push((name.clone(), *kind == 3)),
                    other => panic!("{other:?} is no entry"),
                },
                other => panic!("{other:?} is no entry"),
            },
            other => panic!("{other:?} is no option"),
        }
    }
}

#[test]
fn without_files_there_is_no_directory() {
    let mut world = World::new(content_cid(b"an instruction"), Tree::default());
    let directories = one(&mut world, PREOPENS, "get-directories", &[]);
    assert_eq!(directories, Val::List(vec![]));
    // Nothing was taken from the numbers of handles either.
    let stdin = one(&mut world, "wasi:cli/stdin@0.2.0", "get-stdin", &[]);
    assert_eq!(stdin, Val::Own(0));
}

#[test]
fn directories_list_what_is_in_them_each_once_and_in_one_order() {
    let (mut world, root) = world();
    let entry = |name: &str, is_directory| (name.to_owned(), is_directory);
    assert_eq!(
        names(&mut world, &root),
        [
            entry("data-2", false),
            entry("data.txt", false),
            entry("data", true),
            entry("z", false)
        ]
    );
    let data = opened(&mut world, &root, "data");
    let _ = world.take_fuel();
    assert_eq!(
        names(&mut world, &data),
        [entry("in.csv", false), entry("more", true)]
    );
    assert_eq!(world.take_fuel(), 10);
    let file = opened(&mut world, &data, "in.csv");
    assert_eq!(
        call(&mut world, "read-directory", &file, &[]),
        failed(ErrorCode::NotDirectory)
    );
}

#[test]
fn a_file_is_read_from_anywhere_and_costs_fuel() {
    let (mut world, root) = world();
    let file = opened(&mut world, &root, "data/../data/./in.csv");
    let _ = world.take_fuel();
    let mut read = |len, from| {
        let args = [Val::U64(len), Val::U64(from)];
        payload(call(&mut world, "read", &file, &args))
    };
    let part = |bytes: &[u8], end| Val::Tuple(vec![Val::Bytes(bytes.to_vec()), Val::Bool(end)]);
    assert_eq!(read(3, 0), part(b"a,b", false));
    assert_eq!(read(u64::MAX, 4), part(b"1,2\n", true));
    assert_eq!(read(4, 4), part(b"1,2\n", true));
    assert_eq!(read(1, u64::MAX), part(b"", true));
    assert_eq!(read(0, 0), part(b"", false));
    assert_eq!(world.take_fuel(), 11);
}

#[test]
fn a_stream_of_a_file_ends_with_it() {
    let (mut world, root) = world();
    let file = opened(&mut world, &root, "data/in.csv");
    let mut stream = |offset| {
        let stream = call(&mut world, "read-via-stream", &file, &[Val::U64(offset)]);
        borrowed(&payload(stream))
    };
    let (whole, beyond) = (stream(0), stream(100));
    let _ = world.take_fuel();
    let mut read = |stream: &Val, func: &str, len| {
        let func = format!("[method]input-stream.{func}");
        one(&mut world, STREAMS, &func, &[stream.clone(), Val::U64(len)])
    };
    let closed = Val::Result(Err(Some(Box::new(Val::Variant(1, None)))));
    assert_eq!(read(&beyond, "read", 1), closed);
    let bytes = |bytes: &[u8]| ok(Val::Bytes(bytes.to_vec()));
    assert_eq!(read(&whole, "read", 0), bytes(b""));
    assert_eq!(read(&whole, "blocking-read", 1), bytes(b"a"));
    assert_eq!(read(&whole, "skip", 3), ok(Val::U64(3)));
    assert_eq!(read(&whole, "read", u64::MAX), bytes(b"1,2\n"));
    assert_eq!(read(&whole, "read", 1), closed);
    assert_eq!(read(&whole, "blocking-skip", 1), closed);
    assert_eq!(world.take_fuel(), 8);
}

#[test]
fn a_file_can_be_spliced_into_an_output() {
    let (mut world, root) = world();
    let file = opened(&mut world, &root, "z");
    let stream = payload(call(&mut world, "read-via-stream", &file, &[Val::U64(0)]));
    let out = one(&mut world, "wasi:cli/stdout@0.2.0", "get-stdout", &[]);
    let args = [borrowed(&out), borrowed(&stream), Val::U64(100)];
    let splice = "[method]output-stream.splice";
    assert_eq!(one(&mut world, STREAMS, splice, &args), ok(Val::U64(4)));
    assert_eq!(world.into_logs()[0].message, "last");
}

#[test]
fn one_call_reads_no_more_than_a_mebibyte() {
    let long = "x".repeat((1 << 20) + 5);
    let mut world = World::new(content_cid(b""), tree(&[("long", &long)]));
    let roots = one(&mut world, PREOPENS, "get-directories", &[]);
    let Val::List(roots) = roots else {
        panic!("directories are a list")
    };
    let Val::Tuple(root) = &roots[0] else {
        panic!("a directory is a pair")
    };
    let file = opened(&mut world, &borrowed(&root[0]), "long");
    let read = call(&mut world, "read", &file, &[Val::U64(1 << 40), Val::U64(0)]);
    match payload(read) {
        Val::Tuple(read) => match &read[..] {
            [Val::Bytes(bytes), Val::Bool(false)] => assert_eq!(bytes.len(), 1 << 20),
            other => panic!("{other:?} is not a part of it"),
        },
        other => panic!("{other:?} is no pair"),
    }
}

#[test]
fn no_path_leads_out_of_a_directory() {
    let (mut world, root) = world();
    let data = opened(&mut world, &root, "data");
    for (base, path, code) in [
        (&root, "..", ErrorCode::NotPermitted),
        (&root, "/data", ErrorCode::NotPermitted),
        (&root, "data/../../data/in.csv", ErrorCode::NotPermitted),
        (&data, "../data.txt", ErrorCode::NotPermitted),
        (&data, "more/../../z", ErrorCode::NotPermitted),
        (&root, "", ErrorCode::NoEntry),
        (&root, "dat", ErrorCode::NoEntry),
        (&root, "nowhere/in.csv", ErrorCode::NoEntry),
        (&root, "nowhere/../z", ErrorCode::NoEntry),
        (&root, "z/", ErrorCode::NotDirectory),
        (&root, "z/more", ErrorCode::NotDirectory),
        (&root, "z/..", ErrorCode::NotDirectory),
        (&root, &"x/".repeat(1_000), ErrorCode::NameTooLong),
    ] {
        for (func, args) in [
            ("open-at", &open_args(path, [false; 4], false)[..]),
            ("stat-at", &[follow(), text(path)]),
            ("metadata-hash-at", &[follow(), text(path)]),
            ("readlink-at", &[text(path)]),
        ] {
            let came = call(&mut world, func, base, args);
            assert_eq!(came, failed(code), "{func} of {path:?}");
        }
    }
    // And all that leads somewhere does.
    for path in [".", "./", "data/..", "data//more/", "data/more/../../z"] {
        opened(&mut world, &root, path);
    }
}

#[test]
fn nothing_can_be_written() {
    let (mut world, root) = world();
    let (create, directory, exclusive, truncate) = (
        [true, false, false, false],
        [false, true, false, false],
        [true, false, true, false],
        [false, false, false, true],
    );
    for (path, how, write, code) in [
        ("new", create, true, ErrorCode::ReadOnly),
        ("new", create, false, ErrorCode::ReadOnly),
        ("new", truncate, true, ErrorCode::NoEntry),
        ("z", create, false, ErrorCode::ReadOnly),
        ("z", [false; 4], true, ErrorCode::ReadOnly),
        ("z", truncate, false, ErrorCode::ReadOnly),
        ("z", exclusive, true, ErrorCode::Exist),
        ("z", directory, false, ErrorCode::NotDirectory),
        ("nowhere/new", create, true, ErrorCode::ReadOnly),
    ] {
        let came = call(&mut world, "open-at", &root, &open_args(path, how, write));
        assert_eq!(came, failed(code), "{path} {how:?} {write}");
    }
    let file = opened(&mut world, &root, "z");
    let now = || Val::Variant(1, None);
    for (func, args) in [
        ("write", vec![Val::Bytes(vec![1]), Val::U64(0)]),
        ("write-via-stream", vec![Val::U64(0)]),
        ("append-via-stream", vec![]),
        ("set-size", vec![Val::U64(0)]),
        ("set-times", vec![now(), now()]),
        ("set-times-at", vec![follow(), text("z"), now(), now()]),
        ("create-directory-at", vec![text("new")]),
        ("remove-directory-at", vec![text("data")]),
        ("unlink-file-at", vec![text("z")]),
        ("symlink-at", vec![text("z"), text("new")]),
        ("rename-at", vec![text("z"), root.clone(), text("y")]),
        (
            "link-at",
            vec![follow(), text("z"), root.clone(), text("y")],
        ),
    ] {
        let came = call(&mut world, func, &file, &args);
        assert_eq!(came, failed(ErrorCode::ReadOnly), "{func}");
    }
    for (func, args) in [
        ("sync", vec![]),
        ("sync-data", vec![]),
        ("advise", vec![Val::U64(0), Val::U64(0), Val::Enum(1)]),
    ] {
        let came = call(&mut world, func, &file, &args);
        assert_eq!(came, Val::Result(Ok(None)), "{func}");
    }
    assert_eq!(
        call(&mut world, "readlink-at", &root, &[text("z")]),
        failed(ErrorCode::Invalid)
    );
}

#[test]
fn what_is_said_of_a_file_follows_from_the_task() {
    let (mut world, root) = world();
    let stat = |kind, size, begin: &Val| {
        let begin = || Val::Option(Some(Box::new(begin.clone())));
        let (links, size) = (Val::U64(1), Val::U64(size));
        ok(Val::Record(vec![
            Val::Enum(kind),
            links,
            size,
            begin(),
            begin(),
            begin(),
        ]))
    };
    let begin = one(&mut world, "wasi:clocks/wall-clock@0.2.0", "now", &[]);
    let args = [follow(), text("data/in.csv")];
    let file = call(&mut world, "stat-at", &root, &args);
    assert_eq!(file, stat(6, 8, &begin));
    // Time that passes changes nothing.
    world.wait_until(u64::MAX);
    assert_eq!(call(&mut world, "stat", &root, &[]), stat(3, 0, &begin));

    let data = opened(&mut world, &root, "data");
    let (one_way, other_way) = (
        opened(&mut world, &data, "in.csv"),
        opened(&mut world, &root, "data/in.csv"),
    );
    let same = |world: &mut World, other: &Val| {
        call(
            world,
            "is-same-object",
            &one_way,
            std::slice::from_ref(other),
        )
    };
    assert_eq!(same(&mut world, &other_way), Val::Bool(true));
    assert_eq!(same(&mut world, &data), Val::Bool(false));
    let hash = call(&mut world, "metadata-hash", &one_way, &[]);
    assert_eq!(call(&mut world, "metadata-hash-at", &root, &args), hash);
    assert_ne!(call(&mut world, "metadata-hash", &data, &[]), hash);
    let flags = ok(Val::Flags(vec![true, false, false, false, false, false]));
    assert_eq!(call(&mut world, "get-flags", &root, &[]), flags);
    assert_eq!(
        call(&mut world, "get-type", &one_way, &[]),
        ok(Val::Enum(6))
    );
    assert_eq!(call(&mut world, "get-type", &data, &[]), ok(Val::Enum(3)));
    let is_directory = failed(ErrorCode::IsDirectory);
    let read = call(&mut world, "read", &data, &[Val::U64(1), Val::U64(0)]);
    assert_eq!(read, is_directory);
    assert_eq!(
        call(&mut world, "read-via-stream", &data, &[Val::U64(0)]),
        is_directory
    );
}

#[test]
fn descriptors_are_bounded_like_every_handle() {
    let (mut world, root) = world();
    let args = [
        std::slice::from_ref(&root),
        &open_args("z", [false; 4], false),
    ]
    .concat();
    let open = "[method]descriptor.open-at";
    for _ in 0..9_999 {
        world.call(TYPES, open, &args).unwrap();
    }
    assert!(world.call(TYPES, open, &args).is_err());
    world.drop_resource(7);
    assert!(world.call(TYPES, open, &args).is_ok());
}

#[test]
fn handles_of_another_kind_end_the_guest() {
    let (mut world, root) = world();
    let input = borrowed(&one(&mut world, "wasi:cli/stdin@0.2.0", "get-stdin", &[]));
    for (interface, func, args) in [
        (TYPES, "[method]descriptor.stat", vec![input.clone()]),
        (TYPES, "[method]descriptor.set-size", vec![input.clone()]),
        (
            TYPES,
            "[method]directory-entry-stream.read-directory-entry",
            vec![root.clone()],
        ),
        (
            STREAMS,
            "[method]input-stream.read",
            vec![root, Val::U64(1)],
        ),
        (TYPES, "filesystem-error-code", vec![input]),
    ] {
        assert!(world.call(interface, func, &args).is_err(), "{func}");
    }
}

#[test]
fn files_are_links_bytes_and_texts() {
    let blob = b"behind a link".to_vec();
    let blobs = BTreeMap::from([(blob_cid(&blob), blob.clone())]);
    let files = |value: Value| Files::from([("a/b".to_owned(), value)]);
    let link = |bytes: &[u8]| Value::Link(blob_cid(bytes).to_link());
    for (value, bytes) in [
        (link(&blob), &blob[..]),
        (Value::Bytes(vec![1, 2]), &[1, 2]),
        (Value::String("é".into()), "é".as_bytes()),
    ] {
        let tree = Tree::new(&files(value), &blobs).unwrap();
        assert_eq!(&*tree.0["a/b"], bytes);
    }
    for (value, reason) in [
        (Value::Integer(1), "this is a number"),
        (Value::List(vec![]), "this is a list"),
        (Value::Null, "this is null"),
        (link(b"elsewhere"), "are not here"),
    ] {
        let error = Tree::new(&files(value), &blobs).unwrap_err();
        assert_eq!(error.path, "files.a/b");
        assert!(error.reason.contains(reason), "{error}");
    }
}

#[test]
fn more_bytes_than_a_host_must_hold_are_refused_before_they_are_copied() {
    // Each is a link to the same eight mebibytes: what is held is what is counted.
    let blob = vec![0_u8; 8 << 20];
    let link = Value::Link(blob_cid(&blob).to_link());
    let most = FILES_BYTES_MAX as usize / blob.len();
    let files: Files = (0..=most).map(|n| (n.to_string(), link.clone())).collect();
    let blobs = BTreeMap::from([(blob_cid(&blob), blob)]);
    let error = Tree::new(&files, &blobs).unwrap_err();
    assert!(error.reason.contains("268435456 bytes"), "{error}");
}
