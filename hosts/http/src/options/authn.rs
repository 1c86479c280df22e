use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::HeaderName;
use orchestra_core::access::bootstrap_tokens::BootstrapTokens;
use orchestra_core::api::Service as _;
use orchestra_core::clock::parse_duration;

use super::{OptionsError, read, text};
use crate::auth::Anonymous;
use crate::authn::{AuthenticationFile, FrontProxy, Issuer, OidcTokens, TokenWebhook};
use crate::endpoint::Endpoint;
use crate::frontend::Frontend;

/// Who is known, beside those who have a certificate of the cluster or a token of a service account.
#[derive(Args, Clone, Debug)]
pub struct AuthenticationOptions {
    /// Whether requests are answered that do not say who sends them, where system:anonymous may do what they ask
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    pub anonymous_auth: bool,
    /// Know the tokens that stand in Secrets of the type bootstrap.kubernetes.io/token
    #[arg(long)]
    pub enable_bootstrap_token_auth: bool,
    /// An AuthenticationConfiguration of apiserver.config.k8s.io/v1 that says which issuers' tokens are believed
    #[arg(long, value_name = "FILE", conflicts_with = "oidc_issuer_url")]
    pub authentication_config: Option<PathBuf>,
    /// The server that is asked whose a token is, in the form of a kubeconfig
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// How long its answers are remembered
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub authentication_token_webhook_cache_ttl: Duration,
    /// The issuer whose tokens are believed
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// The claim that names the user
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,
    /// What stands before the name; - for nothing [default: the issuer's URL and #, but nothing before an email]
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    /// The claim that names the groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub oidc_groups_claim: Option<String>,
    /// What stands before each of them
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub oidc_groups_prefix: String,
    /// A claim that must have a value; may be given several times
    #[arg(long, value_name = "CLAIM=VALUE")]
    pub oidc_required_claim: Vec<String>,
    /// The certificate of the authority by which the issuer is known [default: those of this machine]
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// The certificate of the authority of proxies that are believed when they say for whom they ask
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// The names of those proxies; none for any
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// The headers that name the user
    #[arg(long, value_name = "HEADER", value_delimiter = ',', default_value = "X-Remote-User")]
    pub requestheader_username_headers: Vec<HeaderName>,
    /// The headers that name the user's uid
    #[arg(long, value_name = "HEADER", value_delimiter = ',', default_value = "X-Remote-Uid")]
    pub requestheader_uid_headers: Vec<HeaderName>,
    /// The headers that name the groups
    #[arg(long, value_name = "HEADER", value_delimiter = ',', default_value = "X-Remote-Group")]
    pub requestheader_group_headers: Vec<HeaderName>,
    /// What the headers begin with that say more of the user
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', default_value = "X-Remote-Extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

impl AuthenticationOptions {
    pub(super) fn proxy(&self) -> Result<Option<FrontProxy>, OptionsError> {
        let Some(path) = &self.requestheader_client_ca_file else { return Ok(None) };
        let proxy = FrontProxy::new(&text(path)?)?.names(self.requestheader_allowed_names.clone());
        Ok(Some(proxy.headers(
            self.requestheader_username_headers.clone(),
            self.requestheader_uid_headers.clone(),
            self.requestheader_group_headers.clone(),
            &self.requestheader_extra_headers_prefix,
        )))
    }

    pub(super) fn apply(&self, mut frontend: Frontend) -> Result<Frontend, OptionsError> {
        let (server, clock) = (frontend.server().clone(), frontend.server().clock().clone());
        if self.enable_bootstrap_token_auth {
            frontend = frontend.authenticator(BootstrapTokens::new(server.caches(), &clock));
        }
        let file = match &self.authentication_config {
            Some(path) => AuthenticationFile::parse(&read(path)?)?,
            None => AuthenticationFile { issuers: self.issuer()?.into_iter().collect(), anonymous: None },
        };
        for issuer in file.issuers {
            frontend = frontend.authenticator(OidcTokens::new(issuer, &clock)?);
        }
        if let Some(path) = &self.authentication_token_webhook_config_file {
            let remembered = self.authentication_token_webhook_cache_ttl;
            frontend = frontend.authenticator(TokenWebhook::new(Endpoint::read(path)?, &clock, remembered));
        }
        if let Some(proxy) = self.proxy()? {
            frontend = frontend.behind(proxy);
        }
        Ok(match file.anonymous {
            Some(anonymous) => frontend.anonymous(anonymous),
            None if !self.anonymous_auth => frontend.anonymous(Anonymous::Paths(Vec::new())),
            None => frontend,
        })
    }

    /// The issuer that options name, if they do.
    fn issuer(&self) -> Result<Option<Issuer>, OptionsError> {
        let (Some(url), Some(audience)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            return Ok(None);
        };
        if !url.starts_with("https://") {
            let why = "the URL of the issuer must begin with https://".to_owned();
            return Err(OptionsError::Invalid { option: "--oidc-issuer-url", why });
        }
        let claim = &self.oidc_username_claim;
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if claim == "email" => String::new(),
            None => format!("{url}#"),
        };
        let mut issuer = Issuer::new(url, vec![audience.clone()]).username(claim, prefix);
        if let Some(claim) = &self.oidc_groups_claim {
            issuer = issuer.groups(claim, &self.oidc_groups_prefix);
        }
        for required in &self.oidc_required_claim {
            let Some((claim, value)) = required.split_once('=') else {
                let why = format!("{required:?} is not of the form CLAIM=VALUE");
                return Err(OptionsError::Invalid { option: "--oidc-required-claim", why });
            };
            issuer = issuer.requiring(claim, value);
        }
        issuer.authority = self.oidc_ca_file.as_deref().map(text).transpose()?;
        Ok(Some(issuer))
    }
}
