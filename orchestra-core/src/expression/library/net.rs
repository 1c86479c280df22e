//! URLs and addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use super::P::{Bool, Int, MapTextLists, Of, Text};
use super::{Function, failed, mismatch, text_at};
use crate::expression::cost::{Price, Size};
use crate::expression::error::EvalError;
use crate::expression::special::Url;
use crate::expression::types::Opaque;
use crate::expression::value::{Key, Special, Val};

type Outcome<'v> = Result<Val<'v>, EvalError>;

const URL: super::P = Of(Opaque::Url);
const IP: super::P = Of(Opaque::Ip);
const CIDR: super::P = Of(Opaque::Cidr);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of("url", &[(&[Text], URL)], |args| match Url::parse(text_at(args, 0)?) {
        Some(url) => Ok(Val::special(Special::Url(url))),
        None => failed(format!(
            "URL parse error during conversion from string: parse {:?}: invalid URI for request",
            text_at(args, 0)?
        )),
    })
    .price(Price::Text(0))
    .size(Size::Like(0)),
    Function::of("isURL", &[(&[Text], Bool)], |args| Ok(Val::Bool(Url::parse(text_at(args, 0)?).is_some())))
        .price(Price::Text(0)),
    Function::member("getScheme", &[(&[URL], Text)], |args| of_url(args, |url| url.scheme.clone())),
    Function::member("getHost", &[(&[URL], Text)], |args| of_url(args, |url| url.host.clone())),
    Function::member("getHostname", &[(&[URL], Text)], |args| of_url(args, Url::hostname)),
    Function::member("getPort", &[(&[URL], Text)], |args| of_url(args, Url::port)),
    Function::member("getEscapedPath", &[(&[URL], Text)], |args| of_url(args, |url| url.path.clone())),
    Function::member("getQuery", &[(&[URL], MapTextLists)], query),
    Function::of("ip", &[(&[Text], IP)], |args| match parse_ip(text_at(args, 0)?) {
        Ok(ip) => Ok(Val::special(Special::Ip(ip))),
        Err(why) => failed(why),
    })
    .price(Price::Text(0)),
    Function::of("isIP", &[(&[Text], Bool)], |args| Ok(Val::Bool(parse_ip(text_at(args, 0)?).is_ok())))
        .price(Price::Text(0)),
    Function::of("ip.isCanonical", &[(&[Text], Bool)], |args| {
        let text = text_at(args, 0)?;
        match parse_ip(text) {
            Ok(ip) => Ok(Val::Bool(ip.to_string() == text)),
            Err(why) => failed(why),
        }
    })
    .price(Price::Text(0)),
    Function::member("family", &[(&[IP], Int)], |args| {
        of_ip(args, |ip| Val::Int(if ip.is_ipv4() { 4 } else { 6 }))
    }),
    Function::member("isUnspecified", &[(&[IP], Bool)], |args| {
        of_ip(args, |ip| Val::Bool(ip.is_unspecified()))
    }),
    Function::member("isLoopback", &[(&[IP], Bool)], |args| of_ip(args, |ip| Val::Bool(ip.is_loopback()))),
    Function::member("isLinkLocalMulticast", &[(&[IP], Bool)], |args| {
        of_ip(args, |ip| {
            Val::Bool(match ip {
                IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
                IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
            })
        })
    }),
    Function::member("isLinkLocalUnicast", &[(&[IP], Bool)], |args| {
        of_ip(args, |ip| Val::Bool(is_link_local(ip)))
    }),
    Function::member("isGlobalUnicast", &[(&[IP], Bool)], |args| {
        of_ip(args, |ip| {
            let other = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip);
            Val::Bool(!other && *ip != IpAddr::V4(Ipv4Addr::BROADCAST))
        })
    }),
    Function::of("cidr", &[(&[Text], CIDR)], |args| match parse_cidr(text_at(args, 0)?) {
        Some((ip, bits)) => Ok(Val::special(Special::Cidr(ip, bits))),
        None => {
            let why = "network address parse error during conversion from string: ";
            failed(format!("{why}{why}{}", why_no_cidr(text_at(args, 0)?)))
        }
    })
    .price(Price::Text(0)),
    Function::of("isCIDR", &[(&[Text], Bool)], |args| Ok(Val::Bool(parse_cidr(text_at(args, 0)?).is_some())))
        .price(Price::Text(0)),
    Function::member("containsIP", &[(&[CIDR, IP], Bool), (&[CIDR, Text], Bool)], |args| {
        let (network, bits) = range_of(&args[0])?;
        let ip = match &args[1] {
            Val::Opaque(special) => match &**special {
                Special::Ip(ip) => *ip,
                _ => return mismatch(),
            },
            _ => parse_ip(text_at(args, 1)?).map_err(EvalError::Failed)?,
        };
        Ok(Val::Bool(contains(network, bits, ip)))
    }),
    Function::member("containsCIDR", &[(&[CIDR, CIDR], Bool), (&[CIDR, Text], Bool)], |args| {
        let (network, bits) = range_of(&args[0])?;
        let (other, other_bits) = match &args[1] {
            Val::Opaque(_) => range_of(&args[1])?,
            _ => parse_cidr(text_at(args, 1)?)
                .ok_or_else(|| EvalError::Failed("invalid CIDR address".to_owned()))?,
        };
        Ok(Val::Bool(other_bits >= bits && contains(network, bits, other)))
    }),
    Function::member("ip", &[(&[CIDR], IP)], |args| {
        let (ip, _) = range_of(&args[0])?;
        Ok(Val::special(Special::Ip(ip)))
    }),
    Function::member("masked", &[(&[CIDR], CIDR)], |args| {
        let (ip, bits) = range_of(&args[0])?;
        Ok(Val::special(Special::Cidr(masked(ip, bits), bits)))
    }),
    Function::member("prefixLength", &[(&[CIDR], Int)], |args| Ok(Val::Int(range_of(&args[0])?.1.into()))),
];

fn of_url<'v>(args: &[Val<'v>], part: fn(&Url) -> String) -> Outcome<'v> {
    match &args[0] {
        Val::Opaque(special) => match &**special {
            Special::Url(url) => Ok(Val::text(part(url))),
            _ => mismatch(),
        },
        _ => mismatch(),
    }
}

fn query<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let Val::Opaque(special) = &args[0] else { return mismatch() };
    let Special::Url(url) = &**special else { return mismatch() };
    let mut found: BTreeMap<Key, Vec<Val<'v>>> = BTreeMap::new();
    for (key, value) in url.pairs() {
        found.entry(Key::Text(key.into())).or_default().push(Val::text(value));
    }
    let lists = found.into_iter().map(|(key, values)| (key, Val::list(values)));
    Ok(Val::Map(Rc::new(lists.collect())))
}

/// An address as Kubernetes' library reads it: neither with a zone nor of IPv4 within IPv6.
fn parse_ip(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => {
            Err("IPv4-mapped IPv6 address is not allowed".to_owned())
        }
        Ok(ip) => Ok(ip),
        Err(_) => Err(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )),
    }
}

/// Why a text is no range of addresses, in Go's words.
fn why_no_cidr(text: &str) -> String {
    let why = match text.rsplit_once('/') {
        None => "no '/'".to_owned(),
        Some((ip, _)) if ip.parse::<IpAddr>().is_err() => format!("ParseAddr({ip:?}): unable to parse IP"),
        Some((_, bits)) if bits.is_empty() || bits.bytes().any(|byte| !byte.is_ascii_digit()) => {
            format!("bad bits after slash: {bits:?}")
        }
        Some(_) => "prefix length out of range".to_owned(),
    };
    format!("netip.ParsePrefix({text:?}): {why}")
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let ip = parse_ip(address).ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits = bits.parse::<u8>().ok().filter(|bits| plain && *bits <= most)?;
    Some((ip, bits))
}

fn of_ip<'v>(args: &[Val<'v>], part: fn(&IpAddr) -> Val<'v>) -> Outcome<'v> {
    match &args[0] {
        Val::Opaque(special) => match &**special {
            Special::Ip(ip) => Ok(part(ip)),
            _ => mismatch(),
        },
        _ => mismatch(),
    }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn range_of(value: &Val<'_>) -> Result<(IpAddr, u8), EvalError> {
    match value {
        Val::Opaque(special) => match &**special {
            Special::Cidr(ip, bits) => Ok((*ip, *bits)),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

fn contains(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    network.is_ipv4() == ip.is_ipv4() && masked(network, bits) == masked(ip, bits)
}

/// A value of a library as `string` gives it.
pub(super) fn special_text(special: &Special) -> Option<String> {
    match special {
        Special::Ip(ip) => Some(ip.to_string()),
        Special::Cidr(ip, bits) => Some(format!("{ip}/{bits}")),
        Special::Quantity(quantity) => Some(quantity.to_string()),
        Special::Url(_) | Special::Format(_) | Special::Semver(_) | Special::Access(_) => None,
    }
}
