//! Mail by SMTP (RFC 5321), with TLS from the first byte (RFC 8314) or by STARTTLS (RFC 3207). Where TLS is asked for there is
//! no way without it, and a password never goes over a line in clear.

use lettre::message::{Mailbox, MultiPart, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::error::{one_line, with_causes};
use crate::{DELIVERY_MAX, Letter, NoticeError};

/// How a line to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    Tls,
    StartTls,
    /// In clear: for a mail server on the same host.
    Nothing,
}

impl Protection {
    /// The port of that kind where none is named (RFC 8314, RFC 6409, RFC 5321).
    pub const fn usual_port(self) -> u16 {
        match self {
            Protection::Tls => 465,
            Protection::StartTls => 587,
            Protection::Nothing => 25,
        }
    }
}

/// Where mail goes and how.
#[derive(Debug, Clone)]
pub struct Mail<'a> {
    pub server: &'a str,
    pub port: u16,
    pub protection: Protection,
    /// PEM; `None`: whom the host trusts.
    pub authority: Option<&'a str>,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub from: &'a str,
    pub to: &'a [String],
    /// This host's name, as it greets.
    pub greets_as: &'a str,
}

/// Whether mail can be sent like that, as far as that is known without trying. Errors: `Invalid`.
pub fn check_mail(mail: &Mail<'_>) -> Result<(), NoticeError> {
    let invalid = |text: String| Err(NoticeError::Invalid(text));
    if mail.server.is_empty() || mail.server.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return invalid(format!("'{}' is no mail server", mail.server.escape_debug()));
    }
    if mail.to.is_empty() {
        return invalid("to: name at least one address".to_owned());
    }
    for address in mail.to.iter().map(String::as_str).chain([mail.from]) {
        mailbox(address)?;
    }
    if mail.user.is_some() && mail.protection == Protection::Nothing {
        return invalid(
            "a user with a password needs security 'tls' or 'starttls': without it the password would go in clear"
                .to_owned(),
        );
    }
    if let Some(pem) = mail.authority {
        simsim_net::tls::certificates(pem).map_err(NoticeError::Invalid)?;
    }
    Ok(())
}

impl Mail<'_> {
    /// Sends a letter, to the mail server's word that it has it.
    pub async fn send(&self, letter: &Letter) -> Result<(), NoticeError> {
        check_mail(self)?;
        let at = format!("the mail server {}:{}", self.server, self.port);
        let message = self.message(letter)?;
        let tls = match self.protection {
            Protection::Nothing => Tls::None,
            Protection::Tls => Tls::Wrapper(self.tls(&at)?),
            Protection::StartTls => Tls::Required(self.tls(&at)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.server)
            .port(self.port)
            .tls(tls)
            .hello_name(ClientId::Domain(self.greets_as.to_owned()))
            .timeout(Some(DELIVERY_MAX / 2));
        if let (Some(user), Some(password)) = (self.user, self.password) {
            builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
        }
        let transport = builder.build();
        let late = || NoticeError::Late { at: at.clone(), seconds: DELIVERY_MAX.as_secs() };
        let sent = tokio::time::timeout(DELIVERY_MAX, transport.send(message)).await;
        match sent.map_err(|_| late())? {
            Ok(_) => Ok(()),
            Err(error) if error.is_timeout() => Err(late()),
            Err(error) if error.is_tls() => Err(NoticeError::untrusted(&at, with_causes(&error))),
            Err(error) => Err(match error.status() {
                Some(code) => {
                    // The library's words begin with what kind of error it is; what the server said is the cause.
                    let said = std::error::Error::source(&error).map(ToString::to_string);
                    NoticeError::refused(&at, &format!("{code} {}", said.unwrap_or_default()))
                }
                None if error.is_client() || error.is_response() => {
                    NoticeError::refused(&at, &with_causes(&error))
                }
                None => NoticeError::unreachable(&at, with_causes(&error)),
            }),
        }
    }

    fn tls(&self, at: &str) -> Result<TlsParameters, NoticeError> {
        let mut builder = TlsParameters::builder(self.server.to_owned());
        if let Some(pem) = self.authority {
            let certificate = Certificate::from_pem(pem.as_bytes())
                .map_err(|error| NoticeError::Invalid(format!("the authority: {error}")))?;
            builder =
                builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(|error| NoticeError::untrusted(at, with_causes(&error)))
    }

    fn message(&self, letter: &Letter) -> Result<Message, NoticeError> {
        let mut builder = Message::builder()
            .from(mailbox(self.from)?)
            .subject(one_line(&letter.subject))
            .message_id(Some(format!("<{}@{}>", letter.id, self.greets_as)))
            .date_now();
        for address in self.to {
            builder = builder.to(mailbox(address)?);
        }
        let text = letter.text.clone();
        let made = match &letter.html {
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html.clone())),
            None => builder.header(header::ContentType::TEXT_PLAIN).body(text),
        };
        made.map_err(|error| NoticeError::Invalid(format!("the mail cannot be written: {error}")))
    }
}

fn mailbox(address: &str) -> Result<Mailbox, NoticeError> {
    address.parse().map_err(|error| {
        NoticeError::Invalid(format!("'{}' is no mail address: {error}", address.escape_debug()))
    })
}
