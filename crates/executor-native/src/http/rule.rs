//! Which hosts an owner allows, as they write it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use reqwest::Url;

/// A host that tasks may send requests to: `example.org`, `*.example.org`, `10.0.0.7`, `[::1]`, or `*` for all that
/// everybody reaches; with `:8080` if it is not about the usual ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowHttp {
    hosts: Hosts,
    /// Without one the usual ports.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// Whatever has a public address.
    All,
    /// What is below a name, if it has a public address.
    Below(String),
    /// One, wherever it is.
    Named(String),
    /// An address, and whatever name stands for it.
    Address(IpAddr),
}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no host: write example.org, *.example.org, 10.0.0.7, [::1], each with :PORT if it is another than 80 and \
     443, or * for every public one"
)]
pub struct AllowHttpError(String);

impl FromStr for AllowHttp {
    type Err = AllowHttpError;

    fn from_str(text: &str) -> Result<Self, AllowHttpError> {
        let refused = || AllowHttpError(text.chars().take(100).collect());
        let (is_below, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        let rest = match host.strip_prefix('*') {
            Some(rest) if !is_below && (rest.is_empty() || rest.starts_with(':')) => Some(rest),
            _ => None,
        };
        // A name that stands for all of them is read like any other.
        let written = rest.map_or(host.to_owned(), |rest| format!("all.invalid{rest}"));
        if written.contains(['/', '@', '?', '#', '\\', '*'])
            || written.contains(char::is_whitespace)
        {
            return Err(refused());
        }
        let url = Url::parse(&format!("http://{written}/")).map_err(|_| refused())?;
        let name = url.host_str().ok_or_else(refused)?;
        let after_address = written.rsplit(']').next().unwrap_or_default();
        let port = match after_address.rsplit_once(':') {
            None => None,
            Some((_, "")) => return Err(refused()),
            Some(_) => url.port_or_known_default(),
        };
        let address = address_of(name);
        let hosts = match (rest, is_below, address) {
            (Some(_), _, _) => Hosts::All,
            (None, true, Some(_)) => return Err(refused()),
            (None, true, None) => Hosts::Below(plain(name).to_owned()),
            (None, false, Some(address)) => Hosts::Address(address),
            (None, false, None) => Hosts::Named(plain(name).to_owned()),
        };
        Ok(Self { hosts, port })
    }
}

impl fmt::Display for AllowHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::All => f.write_str("*")?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
            Hosts::Named(name) => f.write_str(name)?,
            Hosts::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Hosts::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Where a host may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Allowed {
    /// It is not asked at all.
    Never,
    /// Where everybody reaches it.
    InPublic,
    /// Where it says: the owner named it.
    Anywhere,
}

impl AllowHttp {
    fn has_port(&self, port: u16) -> bool {
        self.port
            .map_or(matches!(port, 80 | 443), |own| own == port)
    }

    fn of(&self, host: &str, port: u16) -> Allowed {
        if !self.has_port(port) {
            return Allowed::Never;
        }
        let is_below = |name: &str| {
            let sub = host
                .strip_suffix(name)
                .and_then(|sub| sub.strip_suffix('.'));
            sub.is_some_and(|sub| !sub.is_empty())
        };
        match &self.hosts {
            Hosts::All => Allowed::InPublic,
            Hosts::Below(name) if is_below(name) => Allowed::InPublic,
            Hosts::Named(name) if name == host => Allowed::Anywhere,
            Hosts::Address(address) if address_of(host) == Some(*address) => Allowed::Anywhere,
            Hosts::Below(_) | Hosts::Named(_) | Hosts::Address(_) => Allowed::Never,
        }
    }
}

/// What the rules say of a host, as URLs write it.
pub(super) fn allowed(rules: &[AllowHttp], host: &str, port: u16) -> Allowed {
    let host = plain(host);
    let each = rules.iter().map(|rule| rule.of(host, port));
    each.max().unwrap_or(Allowed::Never)
}

/// May a host that the owner did not name be at this address?
pub(super) fn may_reach(rules: &[AllowHttp], address: IpAddr, port: u16) -> bool {
    let named = |rule: &AllowHttp| {
        rule.has_port(port) && rule.hosts == Hosts::Address(address.to_canonical())
    };
    is_public(address) || rules.iter().any(named)
}

/// Without the dot that says that a name is whole.
fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// The address that is written for a host.
fn address_of(host: &str) -> Option<IpAddr> {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}

/// Is it an address of the internet, and of no network that the executor happens to be in?
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // Between providers and their customers.
        || (a == 100 && b & 0xc0 == 64)
        // Of protocols, of relays, of benchmarks.
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        // Reserved, the broadcast among them.
        || a >= 240)
}

/// Only what is handed out as global, and nothing in it that leads to an IPv4 address: that would have to be checked, too.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = a & 0xe000 == 0x2000;
    let is_special = a == 0x2002 || (a == 0x2001 && (b < 0x0200 || b == 0x0db8));
    let is_documentation = a == 0x3fff && b < 0x1000;
    is_global && !is_special && !is_documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<AllowHttp> {
        let rule = |text: &&str| text.parse().expect("it names a host");
        texts.iter().map(rule).collect()
    }

    #[test]
    fn rules_are_read_and_written() {
        for text in [
            "example.org",
            "*.example.org",
            "example.org:8080",
            "*.example.org:80",
            "example.org:443",
            "*",
            "*:8443",
            "10.0.0.7",
            "127.0.0.1:1",
            "[::1]",
            "[fd00::1]:8080",
        ] {
            assert_eq!(text.parse::<AllowHttp>().unwrap().to_string(), text);
        }
        assert_eq!(rules(&["Example.ORG."]), rules(&["example.org"]));
        assert_eq!(rules(&["[::ffff:10.0.0.7]"]), rules(&["10.0.0.7"]));
        for text in [
            "",
            "*.",
            "**",
            "*.*.org",
            "a.*",
            "http://example.org",
            "example.org/path",
            "user@example.org",
            "example.org:",
            "example.org:port",
            "example.org:70000",
            "*.10.0.0.7",
            "a b",
            "::1",
        ] {
            let error = text.parse::<AllowHttp>().expect_err(text).to_string();
            assert!(error.contains("names no host"), "{error}");
        }
    }

    #[test]
    fn a_rule_is_about_its_host_and_port_alone() {
        let check = |rule: &str, host: &str, port: u16, expected: Allowed| {
            assert_eq!(
                allowed(&rules(&[rule]), host, port),
                expected,
                "{rule} {host}:{port}"
            );
        };
        use Allowed::{Anywhere, InPublic, Never};
        check("example.org", "example.org", 443, Anywhere);
        check("example.org", "example.org.", 80, Anywhere);
        check("example.org:443", "example.org", 443, Anywhere);
        check("example.org:443", "example.org", 80, Never);
        check("example.org", "example.org", 8080, Never);
        check("example.org", "a.example.org", 80, Never);
        check("example.org:8080", "example.org", 8080, Anywhere);
        check("example.org:8080", "example.org", 80, Never);
        check("*.example.org", "a.b.example.org", 80, InPublic);
        check("*.example.org", "example.org", 80, Never);
        check("*.example.org", "aexample.org", 80, Never);
        check("*.example.org", ".example.org", 80, Never);
        check("*", "localhost", 80, InPublic);
        check("*", "localhost", 8080, Never);
        check("127.0.0.1", "127.0.0.1", 80, Anywhere);
        check("127.0.0.1", "127.0.0.2", 80, Never);
        check("[::1]", "[::1]", 80, Anywhere);
        check("127.0.0.1", "[::ffff:7f00:1]", 80, Anywhere);
        assert_eq!(allowed(&[], "example.org", 80), Never);
        let both = rules(&["*", "localhost"]);
        assert_eq!(allowed(&both, "localhost", 80), Anywhere);
    }

    #[test]
    fn what_stands_for_all_never_stands_for_a_network_nearby() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fec0::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(
                !may_reach(&rules(&["*", "*.example.org"]), address, 80),
                "{address}"
            );
        }
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(may_reach(&rules(&["*"]), address, 80), "{address}");
        }
        let near: IpAddr = "10.0.0.7".parse().unwrap();
        assert!(may_reach(&rules(&["*", "10.0.0.7"]), near, 80));
        assert!(!may_reach(&rules(&["*", "10.0.0.7:8080"]), near, 80));
    }
}
