//! `egret ca install`: the authority in a store of the machine, by the scripts of `certs/install`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::cli::context::{Context, authority};
use crate::cli::output::{self, Format};
use crate::environment::trust::to_pem;
use crate::files;
use crate::tls::fingerprint::Fingerprint;
use crate::views::InstalledAuthority;

/// How many digits of the fingerprint are in the name under which a certificate is kept.
const DIGITS: usize = 12;

/// Install the CA in a store of this machine, for programs that read no variables
///
/// `egret run` and `egret env` set variables that make clients trust the CA, and change nothing else.
/// This is for what does not read them, such as browsers. Whatever reads the store trusts the CA from
/// then on, whoever runs it: whoever has ca.key can impersonate every host to it. While another CA
/// takes over, both are installed. Run it again after a rotation, and with --remove before the former
/// one is forgotten.
///
/// The stores of the system need root. Programs that run read a store at their start (dockerd too).
#[derive(Args)]
#[command(after_help = "\
Examples:
  sudo egret --data-dir ~/.local/share/egret ca install
  egret ca install nss             Chromium of this user
  NSS_DATABASE=sql:$HOME/.mozilla/firefox/PROFILE egret ca install nss
  egret ca install java --print    the commands, and nothing is changed")]
pub(super) struct Install {
    /// Which store; by default that of this system
    #[arg(value_enum)]
    store: Option<TrustStore>,
    /// Remove it
    #[arg(long)]
    remove: bool,
    /// Print the script, and do nothing
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    format: Format,
}

/// A store, and the script for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TrustStore {
    /// The system's, of Debian, Ubuntu and Alpine
    CaCertificates,
    /// The system's, of Fedora, RHEL and openSUSE
    CaTrust,
    /// The system's, of macOS
    Macos,
    /// A user's NSS database: Chromium, Firefox
    Nss,
    /// The key store of Java
    Java,
}

impl TrustStore {
    /// The one of this system.
    fn of_system() -> anyhow::Result<Self> {
        let is_there = |path: &str| Path::new(path).exists();
        if cfg!(target_os = "macos") {
            return Ok(Self::Macos);
        }
        for anchors in ["/etc/pki/ca-trust/source/anchors", "/etc/pki/trust/anchors"] {
            if is_there(anchors) {
                return Ok(Self::CaTrust);
            }
        }
        let updates = ["/usr/sbin", "/usr/bin", "/sbin"];
        let mut updates = updates
            .map(|at| format!("{at}/update-ca-certificates"))
            .into_iter();
        if updates.any(|path| is_there(&path)) {
            return Ok(Self::CaCertificates);
        }
        bail!("the store of this system is not known; name one, or install `egret ca show` by hand")
    }

    fn script(self) -> &'static str {
        match self {
            Self::CaCertificates => include_str!("../../../certs/install/ca-certificates.sh"),
            Self::CaTrust => include_str!("../../../certs/install/ca-trust.sh"),
            Self::Macos => include_str!("../../../certs/install/macos.sh"),
            Self::Nss => include_str!("../../../certs/install/nss.sh"),
            Self::Java => include_str!("../../../certs/install/java.sh"),
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Install {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let store = match self.store {
            Some(store) => store,
            None => TrustStore::of_system()?,
        };
        if self.print {
            return output::print(store.script());
        }
        let config = context.load()?.config;
        let authority = authority(&config)?;
        let action = if self.remove { "remove" } else { "install" };
        let mut done = Vec::new();
        for certificate in authority.certificates() {
            let fingerprint = Fingerprint::of(&certificate).to_string();
            let name = format!("egret-{}", &fingerprint[..DIGITS]);
            // A store takes one certificate from a file.
            let path = config.data_dir.join(format!("{name}.pem"));
            files::replace(&path, &to_pem([&certificate].into_iter()), files::PUBLIC)
                .with_context(|| format!("cannot write {}", path.display()))?;
            let ran = run_script(store, action, &path, &name);
            let _ = std::fs::remove_file(&path);
            ran?;
            done.push(fingerprint);
        }
        let view = InstalledAuthority {
            store: store.name(),
            action: action.to_owned(),
            fingerprints: done,
        };
        output::data(self.format, &view, || {
            let verb = if self.remove { "removed" } else { "installed" };
            let lines = view.fingerprints.iter();
            lines
                .map(|fingerprint| format!("{verb} {fingerprint} ({})\n", view.store))
                .collect()
        })
    }
}

/// Runs a script with the shell. What its programs say goes to standard error.
fn run_script(store: TrustStore, action: &str, path: &Path, name: &str) -> anyhow::Result<()> {
    let status = Command::new("sh")
        .args(["-c", store.script(), "sh", action])
        .arg(path)
        .arg(name)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("there is no shell")?;
    if !status.success() {
        let name = store.name();
        bail!(
            "the store {name} was not changed: {status}; `egret ca install {name} --print` shows how it \
             is done"
        );
    }
    Ok(())
}
