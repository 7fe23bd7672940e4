//! What a certificate chain says of itself.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, public_key::PublicKey, time::ASN1Time,
    x509::SubjectPublicKeyInfo,
};

use super::FileProblem;

/// The certificates of a file, of which there is at least one.
pub(super) struct Chain<'a>(Vec<X509Certificate<'a>>);

impl<'a> Chain<'a> {
    /// Reads certificates.
    pub(super) fn parse(chain: &'a [CertificateDer<'_>]) -> Result<Self, FileProblem> {
        let parse =
            |(index, der): (usize, &'a CertificateDer<'_>)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                _ => Err(FileProblem::Certificate(index + 1)),
            };
        chain.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Checks that the key of the first certificate is of a kind that can be used.
    pub(super) fn check_kind(&self) -> Result<(), FileProblem> {
        self.0
            .first()
            .and_then(|own| unsupported(own.public_key()))
            .map_or(Ok(()), |kind| Err(FileProblem::Kind(kind)))
    }

    /// Which certificate is that of a key.
    pub(super) fn position_of(&self, key: &SubjectPublicKeyInfoDer<'_>) -> Option<usize> {
        self.0.iter().position(|certificate| certificate.public_key().raw == key.as_ref())
    }

    /// Checks that each certificate but the first has signed one before it. Clients that are
    /// strict want it to be the one before; but where a certificate authority has several
    /// certificates for the same key, files have them side by side, and work.
    pub(super) fn check_order(&self) -> Result<(), FileProblem> {
        for (index, certificate) in self.0.iter().enumerate().skip(1) {
            let subject = certificate.subject().as_raw();
            if !self.0[..index].iter().any(|before| before.issuer().as_raw() == subject) {
                return Err(FileProblem::Order(index + 1));
            }
        }
        Ok(())
    }

    /// Checks that the first certificate is valid now, and tells in the log which of the others
    /// are not.
    pub(super) fn check_time(&self, path: &str) -> Result<(), FileProblem> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let Ok(now) = ASN1Time::from_timestamp(seconds) else { return Ok(()) };
        for (index, certificate) in self.0.iter().enumerate() {
            let validity = certificate.validity();
            let problem = if now > validity.not_after {
                FileProblem::Expired(shown(validity.not_after))
            } else if now < validity.not_before {
                FileProblem::NotYetValid { from: shown(validity.not_before), now: shown(now) }
            } else {
                continue;
            };
            if index == 0 {
                return Err(problem);
            }
            tracing::warn!(number = index + 1, "{path} {problem}");
        }
        Ok(())
    }
}

fn shown(time: ASN1Time) -> String {
    time.to_rfc2822().unwrap_or_else(|_| time.to_string())
}

/// What kind of key it is, if it is none that can be used.
fn unsupported(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let algorithm = key.algorithm.algorithm.to_id_string();
    Some(match &*algorithm {
        "1.2.840.113549.1.1.1" => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if (2048..=4096).contains(&rsa.key_size()) => return None,
            Ok(PublicKey::RSA(rsa)) => format!("RSA of {} bits", rsa.key_size()),
            _ => "a damaged RSA key".into(),
        },
        "1.2.840.10045.2.1" => {
            let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            match curve.map(|oid| oid.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7" | "1.3.132.0.34") => return None,
                Some("1.3.132.0.35") => "ECDSA on P-521".into(),
                Some("1.3.132.0.10") => "ECDSA on secp256k1".into(),
                Some(oid) => format!("ECDSA on the curve {oid}"),
                None => "ECDSA on a curve without a name".into(),
            }
        }
        "1.3.101.112" => return None,
        "1.3.101.113" => "Ed448".into(),
        "1.2.840.10040.4.1" => "DSA".into(),
        "1.2.840.113549.1.1.10" => "RSA-PSS".into(),
        _ => algorithm,
    })
}
