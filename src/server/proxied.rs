//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.2/doc/proxy-protocol.txt): the head with which a load balancer says whose
//! connection it passes on. Whoever could send one could claim any address, so only those are heard that the operator names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a head of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest head of version 1, its end included.
const TEXT_MAX: usize = 107;
/// The longest head of version 2 after its first 16 bytes: addresses, and what balancers tell besides (of TLS, of their own), which is
/// skipped.
const BINARY_MAX: usize = 2048;

/// Whom to believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    nets: Vec<Net>,
    /// Whoever may connect to the unix socket.
    unix: bool,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Net {
    ip: IpAddr,
    bits: u32,
}

impl Trusted {
    /// Believes this one too: an address, `ADDRESS/BITS`, or `unix`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "unix" {
            self.unix = true;
            return Ok(());
        }
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: Option<IpAddr> = ip.parse().ok();
        let most = if ip.is_some_and(|ip| ip.is_ipv4()) {
            32
        } else {
            128
        };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok());
        match (ip, bits) {
            (Some(ip), Some(bits)) if bits <= most => {
                self.nets.push(Net { ip, bits });
                Ok(())
            }
            _ => Err(format!(
                "\"{text}\" is neither an address nor a range of them"
            )),
        }
    }

    /// Whether this one may speak for others; nothing is who comes over the unix socket.
    pub(super) fn believes(&self, address: Option<SocketAddr>) -> bool {
        let Some(address) = address else {
            return self.unix;
        };
        let ip = address.ip().to_canonical();
        self.nets.iter().any(|net| net.holds(ip))
    }
}

impl Net {
    fn holds(self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// A head as it was read: how long it is, and whose connection it is, where that is told.
pub(super) type Head = (usize, Option<SocketAddr>);

/// Reads a head; nothing where more bytes are needed.
///
/// # Errors
/// What is wrong with it.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] == SIGNATURE[..known] {
        return match known == SIGNATURE.len() {
            true => binary(bytes),
            false => Ok(None),
        };
    }
    text(bytes)
}

/// Version 1: one line.
fn text(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    const WRONG: &str = "it does not begin with a head of the PROXY protocol";
    const START: &[u8] = b"PROXY ";
    let known = bytes.len().min(START.len());
    if bytes[..known] != START[..known] {
        return Err(WRONG);
    }
    let within = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return match within.len() == TEXT_MAX {
            true => Err("the head of the PROXY protocol is too long"),
            false => Ok(None),
        };
    };
    let line = std::str::from_utf8(&within[..end]).map_err(|_| WRONG)?;
    let words: Vec<&str> = line.split(' ').collect();
    let address = match words[..] {
        // The rest of the line is to be ignored.
        ["PROXY", "UNKNOWN", ..] => None,
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            target,
            from,
            to,
        ] => {
            let (source, target): (IpAddr, IpAddr) = match (source.parse(), target.parse()) {
                (Ok(source), Ok(target)) => (source, target),
                _ => return Err("the head of the PROXY protocol holds no address"),
            };
            let four = family == "TCP4";
            if source.is_ipv4() != four || target.is_ipv4() != four {
                return Err("the head of the PROXY protocol holds no address of its family");
            }
            match (port(from), port(to)) {
                (Some(from), Some(_)) => Some(SocketAddr::new(source, from)),
                _ => return Err("the head of the PROXY protocol holds no port"),
            }
        }
        _ => return Err("the head of the PROXY protocol is not of its form"),
    };
    Ok(Some((end + 2, address)))
}

/// Digits without a sign, and without zeros before them.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && plain)
}

/// Version 2: bytes.
fn binary(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let [
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        command,
        family,
        high,
        low,
        rest @ ..,
    ] = bytes
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > BINARY_MAX {
        return Err("the head of the PROXY protocol is too long");
    }
    let passed_on = match command {
        // The balancer's own connection, to see whether this side lives.
        0x20 => false,
        0x21 => true,
        _ => return Err("the head is of an unknown version of the PROXY protocol"),
    };
    let Some(told) = rest.get(..length) else {
        return Ok(None);
    };
    const SHORT: &str = "the head of the PROXY protocol is shorter than its addresses";
    let address = match (passed_on, family) {
        (false, _) => None,
        (true, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _, ..] = told else {
                return Err(SHORT);
            };
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            Some(SocketAddr::new(
                ip.into(),
                u16::from_be_bytes([*high, *low]),
            ))
        }
        (true, 0x21) => {
            let Some((ip, rest)) = told.split_first_chunk::<16>() else {
                return Err(SHORT);
            };
            let Some(&[high, low, _, _]) = rest.get(16..20).and_then(|r| r.first_chunk::<4>())
            else {
                return Err(SHORT);
            };
            let ip = Ipv6Addr::from(*ip);
            Some(SocketAddr::new(ip.into(), u16::from_be_bytes([high, low])))
        }
        // Unspecified, or a unix socket.
        (true, 0x00 | 0x31) => None,
        (true, _) => return Err("the PROXY protocol passes on what is no connection of TCP"),
    };
    Ok(Some((16 + length, address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
        let length = u16::try_from(told.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, told].concat()
    }

    fn four() -> Vec<u8> {
        [[192, 0, 2, 7], [10, 0, 0, 1], [0x1f, 0x90, 0, 80]].concat()
    }

    #[test]
    fn heads_of_both_versions_are_read_however_they_are_cut() {
        let six: Vec<u8> = [
            &Ipv6Addr::LOCALHOST.octets()[..],
            &Ipv6Addr::LOCALHOST.octets(),
            &[0x1f, 0x90, 0, 80],
        ]
        .concat();
        let more = [four(), vec![0x04, 0, 1, 0]].concat();
        for (bytes, address) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".to_vec(),
                Some("192.0.2.7:8080"),
            ),
            (
                b"PROXY TCP6 ::1 ::1 8080 80\r\n".to_vec(),
                Some("[::1]:8080"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 x 1 2\r\n".to_vec(), None),
            (two(0x21, 0x11, &four()), Some("192.0.2.7:8080")),
            (two(0x21, 0x11, &more), Some("192.0.2.7:8080")),
            (two(0x21, 0x21, &six), Some("[::1]:8080")),
            (two(0x20, 0x00, &[]), None),
            (two(0x20, 0x11, &four()), None),
            (two(0x21, 0x00, &[]), None),
        ] {
            for at in 0..bytes.len() {
                assert_eq!(head(&bytes[..at]), Ok(None), "{bytes:?} cut at {at}");
            }
            let expected = address.map(|a| a.parse().expect("an address"));
            let whole = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(head(&whole), Ok(Some((bytes.len(), expected))));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(TEXT_MAX));
        for wrong in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY\tTCP4 1.1.1.1 1.1.1.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1  1.1.1.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.1.1.1 1.1.1.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 1.1.1.1 01 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 2\r\n".to_vec(),
            b"PROXY UDP4 1.1.1.1 1.1.1.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2 3\r\n".to_vec(),
            long.into_bytes(),
            two(0x31, 0x11, &four()),
            two(0x22, 0x11, &four()),
            two(0x21, 0x12, &four()),
            two(0x21, 0x11, &four()[..11]),
            two(0x21, 0x21, &four()),
            two(0x21, 0x11, &[0; BINARY_MAX + 1]),
        ] {
            assert!(
                head(&wrong).is_err(),
                "{:?}",
                String::from_utf8_lossy(&wrong)
            );
        }
    }

    #[test]
    fn only_those_are_believed_who_are_named() {
        let mut trusted = Trusted::default();
        for text in ["10.1.0.0/16", "192.0.2.1", "2001:db8::/32"] {
            trusted.add(text).expect("it is one");
        }
        for (address, believed) in [
            ("10.1.255.1:1", true),
            ("10.2.0.1:1", false),
            ("192.0.2.1:1", true),
            ("192.0.2.2:1", false),
            ("[::ffff:10.1.0.1]:1", true),
            ("[2001:db8:1::1]:1", true),
            ("[2001:db9::1]:1", false),
        ] {
            let told = trusted.believes(Some(address.parse().expect("an address")));
            assert_eq!(told, believed, "{address}");
        }
        assert!(!trusted.believes(None));
        trusted.add("unix").expect("it is one");
        assert!(trusted.believes(None));
        for all in ["0.0.0.0/0", "::/0"] {
            trusted.add(all).expect("it is one");
        }
        assert!(trusted.believes(Some("8.8.8.8:1".parse().expect("an address"))));
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "a.example",
            "::/129",
            "10.0.0.0/",
        ] {
            assert!(trusted.add(wrong).is_err(), "{wrong}");
        }
    }
}
