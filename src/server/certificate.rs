//! Which tenant a client's certificate stands for.
//!
//! The certificate is valid already, so its authority vouches for the names in it. Its tenant is the first of these that is the name of
//! a tenant in the settings: a DNS name; the last part of a URI, as in `spiffe://cluster/tenant/acme`; the subject's common name.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The object identifier of a common name (2.5.4.3), in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// DER's tags of what a subject is made of.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The tenant that a certificate stands for, of these.
pub(super) fn tenant(certificate: &CertificateDer<'_>, tenants: &[Arc<str>]) -> Option<Arc<str>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let uris = certificate.valid_uri_names().filter_map(|uri| uri.rsplit(['/', ':']).next());
    let mut names: Vec<&str> = certificate.valid_dns_names().chain(uris).collect();
    names.extend(common_name(certificate.subject()));
    names.into_iter().find_map(|name| tenants.iter().find(|tenant| ***tenant == *name).cloned())
}

/// The common name of a subject, which is a sequence of sets of pairs of an object identifier and a text.
fn common_name(subject: &[u8]) -> Option<&str> {
    let mut rest = subject;
    while let Some((SET, set, after)) = element(rest) {
        rest = after;
        let Some((SEQUENCE, pair, _)) = element(set) else { continue };
        let Some((OBJECT_IDENTIFIER, COMMON_NAME, text)) = element(pair) else { continue };
        return element(text).and_then(|(_, name, _)| std::str::from_utf8(name).ok());
    }
    None
}

/// The first element of DER: its tag, its content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        length @ 0..=0x7f => (usize::from(*length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_name_is_found_among_others() {
        let pair = |oid: u8, text: &[u8]| {
            let text = [&[0x0c, text.len() as u8], text].concat();
            let pair = [&[OBJECT_IDENTIFIER, 3, 0x55, 0x04, oid], &text[..]].concat();
            let sequence = [&[SEQUENCE, pair.len() as u8], &pair[..]].concat();
            [&[SET, sequence.len() as u8], &sequence[..]].concat()
        };
        let subject = [pair(6, b"DE"), pair(3, b"acme"), pair(10, b"other")].concat();
        assert_eq!(common_name(&subject), Some("acme"));
        assert_eq!(common_name(&pair(6, b"DE")), None);
        for end in 0..subject.len() {
            // Torn ones end nobody.
            let _ = common_name(&subject[..end]);
        }
        let long = [&[SET, 0x82, 0x01, 0x00], &[0; 256][..]].concat();
        assert_eq!(element(&long).map(|(_, content, after)| (content.len(), after.len())), Some((256, 0)));
    }
}
