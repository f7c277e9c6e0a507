//! wasi:sockets: networks that refuse, with an error that programs know how to take. No guest ever holds a socket, so
//! no method of one is reached.

use asterism_component::Val;

use crate::{
    Interface, Stop, Versions, World, err, other_types,
    resources::{Resource, other_kind},
};

/// `access-denied` of wasi:sockets/network's `error-code`.
const ACCESS_DENIED: u32 = 1;

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: "wasi:sockets/instance-network",
        versions: Versions::Wasi02,
        functions: &[("instance-network", instance_network)],
    },
    Interface {
        name: "wasi:sockets/network",
        versions: Versions::Wasi02,
        functions: &[("network-error-code", no_socket)],
    },
    Interface {
        name: "wasi:sockets/ip-name-lookup",
        versions: Versions::Wasi02,
        functions: &[
            ("resolve-addresses", resolve_addresses),
            (
                "[method]resolve-address-stream.resolve-next-address",
                no_socket,
            ),
            ("[method]resolve-address-stream.subscribe", no_socket),
        ],
    },
    Interface {
        name: "wasi:sockets/tcp-create-socket",
        versions: Versions::Wasi02,
        functions: &[("create-tcp-socket", create)],
    },
    Interface {
        name: "wasi:sockets/tcp",
        versions: Versions::Wasi02,
        functions: &[
            ("[method]tcp-socket.start-bind", no_socket),
            ("[method]tcp-socket.finish-bind", no_socket),
            ("[method]tcp-socket.start-connect", no_socket),
            ("[method]tcp-socket.finish-connect", no_socket),
            ("[method]tcp-socket.start-listen", no_socket),
            ("[method]tcp-socket.finish-listen", no_socket),
            ("[method]tcp-socket.accept", no_socket),
            ("[method]tcp-socket.local-address", no_socket),
            ("[method]tcp-socket.remote-address", no_socket),
            ("[method]tcp-socket.is-listening", no_socket),
            ("[method]tcp-socket.address-family", no_socket),
            ("[method]tcp-socket.set-listen-backlog-size", no_socket),
            ("[method]tcp-socket.keep-alive-enabled", no_socket),
            ("[method]tcp-socket.set-keep-alive-enabled", no_socket),
            ("[method]tcp-socket.keep-alive-idle-time", no_socket),
            ("[method]tcp-socket.set-keep-alive-idle-time", no_socket),
            ("[method]tcp-socket.keep-alive-interval", no_socket),
            ("[method]tcp-socket.set-keep-alive-interval", no_socket),
            ("[method]tcp-socket.keep-alive-count", no_socket),
            ("[method]tcp-socket.set-keep-alive-count", no_socket),
            ("[method]tcp-socket.hop-limit", no_socket),
            ("[method]tcp-socket.set-hop-limit", no_socket),
            ("[method]tcp-socket.receive-buffer-size", no_socket),
            ("[method]tcp-socket.set-receive-buffer-size", no_socket),
            ("[method]tcp-socket.send-buffer-size", no_socket),
            ("[method]tcp-socket.set-send-buffer-size", no_socket),
            ("[method]tcp-socket.subscribe", no_socket),
            ("[method]tcp-socket.shutdown", no_socket),
        ],
    },
    Interface {
        name: "wasi:sockets/udp-create-socket",
        versions: Versions::Wasi02,
        functions: &[("create-udp-socket", create)],
    },
    Interface {
        name: "wasi:sockets/udp",
        versions: Versions::Wasi02,
        functions: &[
            ("[method]udp-socket.start-bind", no_socket),
            ("[method]udp-socket.finish-bind", no_socket),
            ("[method]udp-socket.stream", no_socket),
            ("[method]udp-socket.local-address", no_socket),
            ("[method]udp-socket.remote-address", no_socket),
            ("[method]udp-socket.address-family", no_socket),
            ("[method]udp-socket.unicast-hop-limit", no_socket),
            ("[method]udp-socket.set-unicast-hop-limit", no_socket),
            ("[method]udp-socket.receive-buffer-size", no_socket),
            ("[method]udp-socket.set-receive-buffer-size", no_socket),
            ("[method]udp-socket.send-buffer-size", no_socket),
            ("[method]udp-socket.set-send-buffer-size", no_socket),
            ("[method]udp-socket.subscribe", no_socket),
            ("[method]incoming-datagram-stream.receive", no_socket),
            ("[method]incoming-datagram-stream.subscribe", no_socket),
            ("[method]outgoing-datagram-stream.check-send", no_socket),
            ("[method]outgoing-datagram-stream.send", no_socket),
            ("[method]outgoing-datagram-stream.subscribe", no_socket),
        ],
    },
];

fn instance_network(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![world.resources.own(Resource::Network)?])
}

fn resolve_addresses(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [network, Val::String(_)] = args else {
        return other_types();
    };
    match world.resources.get(network)? {
        Resource::Network => Ok(err(Val::Enum(ACCESS_DENIED))),
        _ => other_kind(),
    }
}

fn create(_: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    match args {
        [Val::Enum(_)] => Ok(err(Val::Enum(ACCESS_DENIED))),
        _ => other_types(),
    }
}

fn no_socket(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    other_kind()
}
