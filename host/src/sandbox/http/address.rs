//! Blocks addresses outside the public internet, unless the operator named them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use rustix::io::Errno;

/// Whether `address` belongs to the public internet, by the special-purpose registries of IANA (RFC 6890 and its
/// successors) and isn't a cloud's metadata service. An address that embeds an IPv4 address is judged by that address.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    /// Azure's platform services, including virtual machine configuration, at an address that looks public.
    const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let [a, b, c, _] = address.octets();
    !(a == 0                                     // "this network", RFC 791
        || address == AZURE_WIRE_SERVER
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()               // 169.254/16, with the metadata services of clouds
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b))  // shared address space of carriers, RFC 6598
        || (a == 192 && b == 0 && c == 0)        // protocol assignments, RFC 6890
        || (a == 192 && b == 88 && c == 99)      // 6to4 relays, RFC 7526
        || (a == 198 && (18..20).contains(&b))   // benchmarking, RFC 2544
        || a >= 240) // reserved, RFC 1112
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only 2000::/3 is allocated as global unicast. Unique-local, link-local and multicast addresses are outside it.
    (segments[0] & 0xe000) == 0x2000
        && !(segments[0] == 0x2001 && segments[1] < 0x0200) // protocol assignments, including Teredo and ORCHID
        && !(segments[0] == 0x2001 && segments[1] == 0x0db8) // documentation
        && !(segments[0] == 0x3fff && segments[1] < 0x1000) // documentation, RFC 9637
}

/// The IPv4 address inside a mapped, compatible, translated (NAT64, RFC 6052 and RFC 8215) or 6to4 address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let pair = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        // The position of the address depends on the length of the local NAT64 prefix. None of these is public.
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::UNSPECIFIED),
        [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

/// Whether `address` belongs to this machine, which can have public ones. Nothing is sent: the system lets a socket bind only
/// to the machine's own addresses.
pub(super) fn is_of_this_machine(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => !can_bind_any_address(address) || is_its_own_source(address),
        // Any other error doesn't show that the address belongs to another machine.
        Err(error) => {
            let others = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].map(Errno::raw_os_error);
            error.raw_os_error().is_none_or(|code| !others.contains(&code))
        }
    }
}

/// Whether sockets can bind to addresses of other machines (`ip_nonlocal_bind`), as on some proxies. Tries a documentation
/// address.
fn can_bind_any_address(like: IpAddr) -> bool {
    let foreign: IpAddr = match like {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    UdpSocket::bind((foreign, 0)).is_ok()
}

/// Whether packets to `address` would have it as their source.
fn is_its_own_source(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let routed = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    routed.is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn this_machine_knows_its_own_addresses() {
        for own in ["127.0.0.1", "127.0.0.2"] {
            assert!(is_of_this_machine(own.parse().unwrap()), "{own}");
        }
        assert!(is_its_own_source("127.0.0.1".parse().unwrap()));
        for other in ["93.184.215.14", "169.254.169.254", "2606:4700::1111"] {
            assert!(!is_of_this_machine(other.parse().unwrap()), "{other}");
        }
    }
}
