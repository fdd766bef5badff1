//! What an IP address is: public, private, this very machine, a cloud's metadata service ...; and ranges of addresses.
//!
//! Facts only: whether an address may be reached is for [`crate::decide()`]. An address that is not positively known to be
//! public is never [`AddressClass::Global`]. Must not know: names, the resolver, sockets.
//! Callers: the decision on `net.fetch`, policy files, the fetcher's messages.
//!
//! Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), the IANA IPv6 address space
//! (RFC 4291, only 2000::/3 is assigned), and the clouds' manuals for metadata services, which no registry lists.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::capability::nearest;

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Reachable by anyone on the Internet.
    Global,
    /// A network of the site: RFC 1918, unique local (RFC 4193), site-local (RFC 3879), carrier-grade NAT (RFC 6598).
    Private,
    /// This machine (RFC 1122, RFC 4291).
    Loopback,
    /// The same wire (RFC 3927, RFC 4291).
    LinkLocal,
    /// A service of the cloud that tells whoever asks who this machine is, often with credentials.
    Metadata,
    /// A group of machines (RFC 5771, RFC 4291).
    Multicast,
    /// No address; Linux takes it for this machine.
    Unspecified,
    /// Everyone on the same wire (RFC 919).
    Broadcast,
    /// For examples in books (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// Anything else that is not public: benchmarks, protocols, tunnels, not assigned.
    Reserved,
}

impl AddressClass {
    /// Every class.
    pub const ALL: [AddressClass; 10] = [
        AddressClass::Global,
        AddressClass::Private,
        AddressClass::Loopback,
        AddressClass::LinkLocal,
        AddressClass::Metadata,
        AddressClass::Multicast,
        AddressClass::Unspecified,
        AddressClass::Broadcast,
        AddressClass::Documentation,
        AddressClass::Reserved,
    ];

    /// The class of `address`. An IPv6 address that stands for an IPv4 address (mapped, NAT64, 6to4) has that one's class.
    pub fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return AddressClass::Metadata;
        }
        match address {
            IpAddr::V4(address) => class_of_v4(address),
            IpAddr::V6(address) => match embedded_v4(address) {
                Some(embedded) => AddressClass::of(IpAddr::V4(embedded)),
                None => class_of_v6(address),
            },
        }
    }

    /// The name in policies and messages.
    pub const fn name(self) -> &'static str {
        match self {
            AddressClass::Global => "global",
            AddressClass::Private => "private",
            AddressClass::Loopback => "loopback",
            AddressClass::LinkLocal => "link-local",
            AddressClass::Metadata => "metadata",
            AddressClass::Multicast => "multicast",
            AddressClass::Unspecified => "unspecified",
            AddressClass::Broadcast => "broadcast",
            AddressClass::Documentation => "documentation",
            AddressClass::Reserved => "reserved",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AddressClass {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(found) = AddressClass::ALL.into_iter().find(|class| class.name() == name) {
            return Ok(found);
        }
        let names = AddressClass::ALL.map(AddressClass::name);
        Err(match nearest(name, &names) {
            Some(near) => format!("unknown class of addresses `{name}`; did you mean `{near}`?"),
            None => format!("unknown class of addresses `{name}`; one of {}", names.join(", ")),
        })
    }
}

/// Metadata services. They lie in ranges of several classes, so they come first.
const METADATA: [IpAddr; 13] = [
    // AWS, Azure, Google, OpenStack and most others.
    v4(169, 254, 169, 254),
    // AWS: credentials of ECS tasks and of EKS pods.
    v4(169, 254, 170, 2),
    v4(169, 254, 170, 23),
    // AWS over IPv6, and EKS pods there.
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),
    // Google over IPv6.
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
    // OpenStack over IPv6 (169.254 spelled in its last half).
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
    // Alibaba, within carrier-grade NAT.
    v4(100, 100, 100, 200),
    // Tencent.
    v4(169, 254, 0, 23),
    // Scaleway.
    v4(169, 254, 42, 42),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]),
    // Oracle's older one, within the IETF's protocol assignments.
    v4(192, 0, 0, 192),
    // Azure's WireServer, which hands out the machine's configuration; a public address.
    v4(168, 63, 129, 16),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(groups: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = groups;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

fn class_of_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [0, 0, 0, 0] => AddressClass::Unspecified,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [127, ..] => AddressClass::Loopback,
        [169, 254, ..] => AddressClass::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => AddressClass::Private,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressClass::Documentation,
        [224..=239, ..] => AddressClass::Multicast,
        // "This network" (RFC 791), protocol assignments (RFC 6890), 6to4 relays (RFC 7526), benchmarks (RFC 2544),
        // and what was never assigned (RFC 1112).
        [0, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => {
            AddressClass::Reserved
        }
        _ => AddressClass::Global,
    }
}

/// The IPv4 address that a translator or tunnel on the way makes of this one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let joined = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c, d, e, f] {
        // IPv4-mapped (RFC 4291 2.5.5.2): the kernel itself connects over IPv4.
        [0, 0, 0, 0, 0, 0xffff] => joined(g, h),
        // NAT64's well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0] => joined(g, h),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => joined(high, low),
        _ => None,
    }
}

/// Of an address that stands for itself. NAT64 prefixes of a site (64:ff9b:1::/48, RFC 8215) and Teredo hide an IPv4 address
/// where only the translator knows, so they are reserved like all that lies outside of 2000::/3.
fn class_of_v6(address: Ipv6Addr) -> AddressClass {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressClass::Documentation,
        // 2001::/23: Teredo, benchmarks, ORCHID and other protocols (RFC 2928). Its few anycast services are no file servers.
        [0x2001, 0..=0x01ff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Global,
        _ => AddressClass::Reserved,
    }
}

/// A range of addresses: those that begin with the same bits (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// Its first address: no bit is set beyond `prefix`.
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether the range has this address. An IPv4-mapped address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (network, width) = bits(self.network);
        let (address, other) = bits(address.to_canonical());
        width == other && leading(address, width, self.prefix) == network
    }

    /// Whether every address of `other` is in the range.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }
}

impl FromStr for Cidr {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address.
    ///
    /// # Errors
    /// Says what is wrong: no address, no prefix length, bits beyond the prefix, an IPv4 range in IPv6 spelling.
    fn from_str(text: &str) -> Result<Self, String> {
        let shown = crate::subject::escape(text);
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("`{shown}` is not a range of addresses; write it like `10.0.0.0/8` or `fd00::/8`")
        })?;
        if address != address.to_canonical() {
            return Err(format!("`{shown}` is IPv4 in IPv6 spelling; write {}", address.to_canonical()));
        }
        let (value, width) = bits(address);
        let prefix = match prefix {
            Some(prefix) => read_prefix(prefix, width).ok_or_else(|| {
                format!("`{shown}`: the prefix is a number from 0 to {width} without leading zeros")
            })?,
            None => width,
        };
        let network = from_bits(leading(value, width, prefix), address);
        if network != address {
            return Err(format!(
                "`{shown}` has bits beyond its prefix; write {network}/{prefix} or {address}/{width}"
            ));
        }
        Ok(Cidr { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The opposite of [`bits`], of the family of `like`.
fn from_bits(value: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(value)),
    }
}

/// `value` of `width` bits with all beyond the first `prefix` cleared.
fn leading(value: u128, width: u8, prefix: u8) -> u128 {
    let beyond = u32::from(width.saturating_sub(prefix));
    value.checked_shr(beyond).and_then(|kept| kept.checked_shl(beyond)).unwrap_or(0)
}

fn read_prefix(text: &str, width: u8) -> Option<u8> {
    let prefix: u8 = text.parse().ok()?;
    // The one spelling of each number: neither `+8` nor `08`.
    (prefix <= width && prefix.to_string() == text).then_some(prefix)
}

#[cfg(test)]
mod tests;
