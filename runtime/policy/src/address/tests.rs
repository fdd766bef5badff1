//! Tables of addresses: the borders of every registered range, and the disguises of IPv4.

use std::net::IpAddr;

use super::{AddressClass, Cidr};
use AddressClass::*;

fn class(address: &str) -> AddressClass {
    AddressClass::of(address.parse().unwrap_or_else(|_| panic!("{address}")))
}

/// First and last of every range of the IPv4 registry, and their neighbours outside.
#[test]
fn ipv4_ranges_begin_and_end_where_the_registry_says() {
    for (address, expected) in [
        ("0.0.0.0", Unspecified),
        ("0.0.0.1", Reserved),
        ("0.255.255.255", Reserved),
        ("1.0.0.0", Global),
        ("9.255.255.255", Global),
        ("10.0.0.0", Private),
        ("10.255.255.255", Private),
        ("11.0.0.0", Global),
        ("100.63.255.255", Global),
        ("100.64.0.0", Private),
        ("100.100.100.199", Private),
        ("100.100.100.200", Metadata),
        ("100.127.255.255", Private),
        ("100.128.0.0", Global),
        ("126.255.255.255", Global),
        ("127.0.0.0", Loopback),
        ("127.0.0.1", Loopback),
        ("127.255.255.255", Loopback),
        ("128.0.0.0", Global),
        ("168.63.129.15", Global),
        ("168.63.129.16", Metadata),
        ("169.253.255.255", Global),
        ("169.254.0.0", LinkLocal),
        ("169.254.0.23", Metadata),
        ("169.254.42.42", Metadata),
        ("169.254.169.253", LinkLocal),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("169.254.170.23", Metadata),
        ("169.254.255.255", LinkLocal),
        ("169.255.0.0", Global),
        ("172.15.255.255", Global),
        ("172.16.0.0", Private),
        ("172.31.255.255", Private),
        ("172.32.0.0", Global),
        ("191.255.255.255", Global),
        ("192.0.0.0", Reserved),
        ("192.0.0.192", Metadata),
        ("192.0.0.255", Reserved),
        ("192.0.1.0", Global),
        ("192.0.2.0", Documentation),
        ("192.0.2.255", Documentation),
        ("192.0.3.0", Global),
        ("192.88.98.255", Global),
        ("192.88.99.0", Reserved),
        ("192.88.100.0", Global),
        ("192.167.255.255", Global),
        ("192.168.0.0", Private),
        ("192.168.255.255", Private),
        ("192.169.0.0", Global),
        ("198.17.255.255", Global),
        ("198.18.0.0", Reserved),
        ("198.19.255.255", Reserved),
        ("198.20.0.0", Global),
        ("198.51.99.255", Global),
        ("198.51.100.0", Documentation),
        ("198.51.100.255", Documentation),
        ("198.51.101.0", Global),
        ("203.0.112.255", Global),
        ("203.0.113.0", Documentation),
        ("203.0.113.255", Documentation),
        ("203.0.114.0", Global),
        ("223.255.255.255", Global),
        ("224.0.0.0", Multicast),
        ("239.255.255.255", Multicast),
        ("240.0.0.0", Reserved),
        ("255.255.255.254", Reserved),
        ("255.255.255.255", Broadcast),
    ] {
        assert_eq!(class(address), expected, "{address}");
    }
}

#[test]
fn ipv6_ranges_begin_and_end_where_the_registry_says() {
    for (address, expected) in [
        ("::", Unspecified),
        ("::1", Loopback),
        ("::2", Reserved),
        ("::127.0.0.1", Reserved),
        ("::8.8.8.8", Reserved),
        ("100::1", Reserved),
        ("1fff:ffff::", Reserved),
        ("2000::", Global),
        ("2001::1", Reserved),
        ("2001:2::1", Reserved),
        ("2001:20::1", Reserved),
        ("2001:1ff:ffff::", Reserved),
        ("2001:200::", Global),
        ("2001:db7:ffff::", Global),
        ("2001:db8::", Documentation),
        ("2001:db8:ffff::", Documentation),
        ("2001:db9::", Global),
        ("2606:4700::1111", Global),
        ("3ffe:ffff::", Global),
        ("3fff::", Documentation),
        ("3fff:fff:ffff::", Documentation),
        ("3fff:1000::", Global),
        ("4000::", Reserved),
        ("5f00::1", Reserved),
        ("fbff:ffff::", Reserved),
        ("fc00::", Private),
        ("fd00:ec2::23", Metadata),
        ("fd00:ec2::253", Private),
        ("fd00:ec2::254", Metadata),
        ("fd20:ce::254", Metadata),
        ("fd00:42::42", Metadata),
        ("fdff:ffff::", Private),
        ("fe00::", Reserved),
        ("fe7f:ffff::", Reserved),
        ("fe80::", LinkLocal),
        ("fe80::a9fe:a9fe", Metadata),
        ("febf:ffff::", LinkLocal),
        ("fec0::", Private),
        ("feff:ffff::", Private),
        ("ff00::", Multicast),
        ("ff02::1", Multicast),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
    ] {
        assert_eq!(class(address), expected, "{address}");
    }
}

#[test]
fn an_ipv4_address_in_disguise_has_the_class_of_the_ipv4_address() {
    for (address, expected) in [
        ("::ffff:8.8.8.8", Global),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:169.254.169.254", Metadata),
        ("::ffff:10.1.2.3", Private),
        ("::ffff:0.0.0.0", Unspecified),
        ("::fffe:8.8.8.8", Reserved),
        // IPv4-translated (RFC 7915): nothing on this machine understands it.
        ("::ffff:0:8.8.8.8", Reserved),
        ("64:ff9b::8.8.8.8", Global),
        ("64:ff9b::169.254.169.254", Metadata),
        ("64:ff9b::192.168.1.1", Private),
        ("64:ff9b::1:808:808", Reserved),
        ("64:ff9b:1::8.8.8.8", Reserved),
        ("2002:808:808::", Global),
        ("2002:808:808:1:2:3:4:5", Global),
        ("2002:a9fe:a9fe::1", Metadata),
        ("2002:7f00:1::", Loopback),
        ("2002:a00:1::", Private),
    ] {
        assert_eq!(class(address), expected, "{address}");
    }
}

#[test]
fn names_are_read_back() {
    for class in AddressClass::ALL {
        assert_eq!(class.to_string().parse(), Ok(class));
    }
    let said = |name: &str| name.parse::<AddressClass>().unwrap_err();
    assert_eq!(said("privat"), "unknown class of addresses `privat`; did you mean `private`?");
    assert!(said("elsewhere-entirely").ends_with("documentation, reserved"));
}

#[test]
fn ranges_contain_what_begins_alike() {
    for (range, address, expected) in [
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.0.0.0/8", "9.255.255.255", false),
        ("192.168.1.128/25", "192.168.1.127", false),
        ("192.168.1.128/25", "192.168.1.128", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "1.2.3.4", false),
        ("::/0", "ffff::", true),
        ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fe00::1", false),
        ("2001:db8::/33", "2001:db8:8000::", false),
        ("2001:db8::1", "2001:db8::1", true),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("::/0", "::ffff:10.0.0.1", false),
    ] {
        let parsed: Cidr = range.parse().unwrap();
        assert_eq!(parsed.contains(address.parse::<IpAddr>().unwrap()), expected, "{range} {address}");
    }
}

#[test]
fn ranges_cover_narrower_ones_and_themselves() {
    for (outer, inner, expected) in [
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.0.0.0/8", "10.0.0.0/8", true),
        ("10.0.0.0/8", "10.0.0.0/7", false),
        ("10.1.0.0/16", "10.0.0.0/8", false),
        ("10.1.0.0/16", "10.2.0.0/16", false),
        ("::/0", "10.0.0.0/8", false),
    ] {
        let (outer, inner): (Cidr, Cidr) = (outer.parse().unwrap(), inner.parse().unwrap());
        assert_eq!(outer.covers(&inner), expected, "{outer} {inner}");
    }
}

#[test]
fn ranges_are_shown_in_one_spelling() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("FD00:0::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
    ] {
        let range: Cidr = text.parse().unwrap();
        assert_eq!(range.to_string(), shown);
        assert_eq!(shown.parse(), Ok(range));
    }
}

#[test]
fn wrong_ranges_are_refused_with_the_right_spelling() {
    let example = "is not a range of addresses; write it like `10.0.0.0/8` or `fd00::/8`";
    let number = "the prefix is a number from 0 to";
    for (text, said) in [
        ("", example),
        ("10.0.0/8", example),
        ("010.0.0.0/8", example),
        ("example.org", example),
        ("fe80::1%eth0", example),
        ("10.0.0.0/", number),
        ("10.0.0.0/33", "the prefix is a number from 0 to 32 "),
        ("10.0.0.0/08", number),
        ("10.0.0.0/+8", number),
        ("10.0.0.0/-1", number),
        ("10.0.0.0/8/8", number),
        ("::/129", "the prefix is a number from 0 to 128 "),
        ("10.0.0.1/8", "write 10.0.0.0/8 or 10.0.0.1/32"),
        ("fd00::1/8", "write fd00::/8 or fd00::1/128"),
        ("::ffff:10.0.0.0/104", "is IPv4 in IPv6 spelling; write 10.0.0.0"),
        ("\u{1b}[2J", "`\\u{1b}[2J`"),
    ] {
        let error = text.parse::<Cidr>().unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}
