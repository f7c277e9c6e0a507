//! Where a connection comes from, as far as others may know.

use std::net::IpAddr;

use asterism_protocol::content_cid;
use data_encoding::HEXLOWER;

/// The other end's network address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What one customer is given: an address of IPv4, the first half of one of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Peer {
    pub(crate) fn network(self) -> Network {
        match self.0.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Network::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Makes names of addresses that say who is equal and nothing else: views show them to everybody.
pub(crate) struct Veil([u8; 32]);

impl Veil {
    /// A veil of its own for each start: names of one are not those of another.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The name of an address's network.
    pub(crate) fn name(&self, peer: Peer) -> String {
        let network = match peer.network() {
            Network::V4(network) => network.to_vec(),
            Network::V6(network) => network.to_vec(),
        };
        let digest = content_cid(&[self.0.as_slice(), &network].concat()).digest();
        format!("network {}", HEXLOWER.encode(&digest[..6]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_networks_have_equal_names_that_tell_nothing() {
        let veil = Veil::new([1; 32]);
        let name = |text: &str| veil.name(Peer(text.parse().expect("an address")));
        assert_eq!(name("192.0.2.1"), name("192.0.2.1"));
        assert_eq!(name("192.0.2.1"), name("::ffff:192.0.2.1"));
        assert_ne!(name("192.0.2.1"), name("192.0.2.2"));
        assert_eq!(name("2001:db8:1:2::1"), name("2001:db8:1:2:3:4:5:6"));
        assert_ne!(name("2001:db8:1:2::1"), name("2001:db8:1:3::1"));
        let other = Veil::new([2; 32]);
        let address = Peer("192.0.2.1".parse().expect("an address"));
        assert_ne!(other.name(address), veil.name(address));
    }
}
