use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;

use super::*;

const KINDS: [ProgramFile; 11] = [
    ProgramFile::Netrc,
    ProgramFile::GitCredentials,
    ProgramFile::GitHubCli,
    ProgramFile::Npm,
    ProgramFile::Docker,
    ProgramFile::Aws,
    ProgramFile::Kubernetes,
    ProgramFile::Cargo,
    ProgramFile::Pypi,
    ProgramFile::Pip,
    ProgramFile::Dotenv,
];

fn value(spot: &Spot) -> String {
    String::from_utf8(spot.row.value.expose().to_vec()).unwrap()
}

fn hosts(spot: &Spot) -> Vec<String> {
    spot.row.hosts.iter().map(ToString::to_string).collect()
}

/// Name, value and hosts of each key.
fn found(kind: ProgramFile, content: &str) -> Vec<(String, String, String)> {
    let spots = kind.find(content).unwrap();
    let told = |spot: &Spot| (spot.row.name.clone(), value(spot), hosts(spot).join(" "));
    spots.iter().map(told).collect()
}

/// The file with `<<k0>>`, `<<k1>>` and so on in place of its keys; read again, these are its keys.
fn adopted(kind: ProgramFile, content: &str) -> String {
    let spots = kind.find(content).unwrap();
    let placeholder = |number: usize| format!("<<k{number}>>");
    let pairs = spots
        .iter()
        .enumerate()
        .map(|(number, spot)| (spot, placeholder(number)));
    let text = rewritten(content, &pairs.collect::<Vec<_>>());
    let again = kind.find(&text).unwrap();
    let read: Vec<_> = again.iter().map(value).collect();
    assert_eq!(
        read,
        (0..spots.len()).map(placeholder).collect::<Vec<_>>(),
        "{text}"
    );
    assert!(again.iter().all(Spot::is_placeholder));
    text
}

fn told(name: &str, value: &str, hosts: &str) -> (String, String, String) {
    (name.to_owned(), value.to_owned(), hosts.to_owned())
}

#[test]
fn netrc_is_read_as_curl_reads_it() {
    let text = "# machine not.example password no\nmachine a.example login me password \"p \\\"w\" \
                # remark\r\nmachine\tb.example:8443\n\tlogin tok-en password x-oauth-basic\n\
                macdef init\npassword no\n\ndefault password rest\n";
    let all = [
        told("a.example", "p \"w", "a.example"),
        told("b.example:8443", "tok-en", "b.example:8443"),
        told("netrc-default", "rest", ""),
    ];
    assert_eq!(found(ProgramFile::Netrc, text), all);
    let expected = "# machine not.example password no\nmachine a.example login me password <<k0>> \
                    # remark\r\nmachine\tb.example:8443\n\tlogin <<k1>> password x-oauth-basic\n\
                    macdef init\npassword no\n\ndefault password <<k2>>\n";
    assert_eq!(adopted(ProgramFile::Netrc, text), expected);
}

#[test]
fn urls_keep_their_form() {
    let text = "https://me:p%40ss@git.example\nhttp://x:y@plain.example:8080/path\n\
                https://me@git.example\nhttps://0123456789abcdefghij@github.com\n";
    let all = [
        told("git.example", "p@ss", "git.example"),
        told("plain.example:8080", "y", "http://plain.example:8080"),
        told("github.com", "0123456789abcdefghij", "github.com"),
    ];
    assert_eq!(found(ProgramFile::GitCredentials, text), all);
    let adopted_text = adopted(ProgramFile::GitCredentials, text);
    assert!(
        adopted_text.starts_with("https://me:%3C%3Ck0%3E%3E@git.example\n"),
        "{adopted_text}"
    );
    let pip = "[global]\nindex-url = https://u:tok@pypi.example/simple\n; https://u:no@c.example\n";
    let expected = "[global]\nindex-url = https://u:%3C%3Ck0%3E%3E@pypi.example/simple\n; https://u:no@c.example\n";
    assert_eq!(adopted(ProgramFile::Pip, pip), expected);
}

#[test]
fn gh_and_kubectl_write_blocks() {
    let gh = "github.com:\n    git_protocol: https\n    users:\n        me:\n            oauth_token: gho_a\n    \
              user: me\n    oauth_token: gho_a\nghe.example:8443:\n  oauth_token: 'gho''b' # remark\n";
    let github = "github.com api.github.com uploads.github.com";
    let all = [
        told("github", "gho_a", github),
        told("github", "gho_a", github),
        told("ghe.example:8443", "gho'b' # remark", "ghe.example:8443"),
    ];
    let read = found(ProgramFile::GitHubCli, gh);
    assert_eq!(read[..2], all[..2]);
    let kube = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: QQ==\n    \
                server: https://kube.example:6443\n  name: prod\ncontexts:\n- context:\n    cluster: prod\n    \
                user: admin\n  name: prod\ncurrent-context: prod\nusers:\n- name: admin\n  user:\n    \
                token: tok\n- name: cert\n  user:\n    client-certificate-data: QQ==\n    client-key-data: QUJD\n";
    let spots = ProgramFile::Kubernetes.find(kube).unwrap();
    assert_eq!(
        found(ProgramFile::Kubernetes, kube),
        [
            told("kubernetes-admin", "tok", "kube.example:6443"),
            told("kubernetes-cert", "QUJD", ""),
        ]
    );
    assert!(spots[0].remark.is_some() && spots[1].obstacle.is_some());
    assert!(adopted(ProgramFile::Kubernetes, kube).contains("    token: \"<<k0>>\"\n"));
}

#[test]
fn registries_are_read_with_what_they_encode() {
    let pair = |text: &str| BASE64_STANDARD.encode(text);
    let npm = format!(
        "registry=https://r.example/\n//r.example/:_authToken=npm_a\n//s.example:8443/x/:_password={}\n\
         //t.example/:_auth={}\n//u.example/:_authToken=${{NPM_TOKEN}}\n",
        pair("p:w"),
        pair("me:p:w")
    );
    let all = [
        told("r.example", "npm_a", "r.example"),
        told("s.example:8443", "p:w", "s.example:8443"),
        told("t.example", "p:w", "t.example"),
    ];
    assert_eq!(found(ProgramFile::Npm, &npm), all);
    let text = adopted(ProgramFile::Npm, &npm);
    assert!(
        text.contains(&format!("_auth={}\n", pair("me:<<k2>>"))),
        "{text}"
    );
    let docker = format!(
        "{{\n\t\"auths\": {{\"https://index.docker.io/v1/\": {{\"auth\": \"{}\"}},\n\
         \"ghcr.io\": {{ \"auth\": \"{}\" }}, \"x.example\": {{}}}}, \"credsStore\": \"pass\"\n}}\n",
        pair("me:hub"),
        pair("you:git")
    );
    let all = [
        told("index.docker.io", "hub", "auth.docker.io index.docker.io"),
        told("ghcr.io", "git", "ghcr.io"),
    ];
    assert_eq!(found(ProgramFile::Docker, &docker), all);
    assert!(adopted(ProgramFile::Docker, &docker).contains(&format!("\"{}\"", pair("you:<<k1>>"))));
}

#[test]
fn sections_say_what_a_key_is_for() {
    let pypirc = "[distutils]\nindex-servers =\n    mine\n[pypi]\nusername = __token__\npassword = pypi-a\n\
                  [mine]\nrepository = https://p.example:8443/x\npassword: no\npassword = b\n";
    let all = [
        told("pypi", "pypi-a", "upload.pypi.org"),
        told("mine", "b", "p.example:8443"),
    ];
    assert_eq!(found(ProgramFile::Pypi, pypirc), all);
    adopted(ProgramFile::Pypi, pypirc);
    let cargo = "# remark\n[registry]\ntoken = \"cio_a\"\n[registries.mine]\ntoken = 'b'\n";
    let all = [
        told("crates-io", "cio_a", "crates.io"),
        told("cargo-mine", "b", ""),
    ];
    assert_eq!(found(ProgramFile::Cargo, cargo), all);
    let expected =
        "# remark\n[registry]\ntoken = \"<<k0>>\"\n[registries.mine]\ntoken = \"<<k1>>\"\n";
    assert_eq!(adopted(ProgramFile::Cargo, cargo), expected);
    let aws = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = a/b\n";
    let spots = ProgramFile::Aws.find(aws).unwrap();
    assert!(spots.len() == 1 && spots[0].obstacle.is_some());
}

#[test]
fn of_a_projects_settings_the_keys_are_taken() {
    let github = format!("ghp_{}", "a".repeat(36));
    let text = format!(
        "PORT=3000\nOTHER={github} # remark\nexport API_KEY=\"a\\nb\"\nNEXT_PUBLIC_KEY=x\nA_SECRET='c\nd'\n"
    );
    let all = [
        told("OTHER", &github, ""),
        told("API_KEY", "a\nb", ""),
        told("A_SECRET", "c\nd", ""),
    ];
    assert_eq!(found(ProgramFile::Dotenv, &text), all);
    let expected = "PORT=3000\nOTHER='<<k0>>' # remark\nexport API_KEY='<<k1>>'\nNEXT_PUBLIC_KEY=x\nA_SECRET='<<k2>>'\n";
    assert_eq!(adopted(ProgramFile::Dotenv, &text), expected);
}

#[test]
fn a_kind_is_told_by_its_place() {
    for (path, kind) in [
        ("/home/me/.netrc", Some(ProgramFile::Netrc)),
        (".config/gh/hosts.yml", Some(ProgramFile::GitHubCli)),
        ("a/.docker/config.json", Some(ProgramFile::Docker)),
        (".env.local", Some(ProgramFile::Dotenv)),
        ("/etc/passwd", None),
        ("x.netrc", None),
    ] {
        assert_eq!(ProgramFile::at(path), kind, "{path}");
    }
}

/// The file as it is shown where only keys that begin with `known` have a placeholder.
fn seen(kind: ProgramFile, content: &str) -> Option<String> {
    let spots = kind.find(content).unwrap().into_iter();
    let spots = spots.map(|spot| {
        let known = value(&spot).starts_with("known");
        (spot, known.then(|| "<<k>>".to_owned()))
    });
    shown(kind, content, &spots.collect::<Vec<_>>())
}

#[test]
fn what_is_shown_has_placeholders_and_nothing_unknown() {
    let netrc = "machine a.example\nlogin me\npassword known1\n# S3\nmachine b login x password S3\n\
                 macdef m\nS3\n\n";
    let expected = "machine a.example\nlogin me\npassword <<k>>\n";
    assert_eq!(seen(ProgramFile::Netrc, netrc).as_deref(), Some(expected));
    let npm = "registry=https://r.example/\n//r.example/:_authToken=known\n//s/:_authToken=S3\nemail=S3\n";
    let expected = "registry=https://r.example/\n//r.example/:_authToken=<<k>>\n";
    assert_eq!(seen(ProgramFile::Npm, npm).as_deref(), Some(expected));
    let docker = format!(
        "{{\"auths\": {{\"a\": {{\"auth\": \"{}\"}}, \"b\": {{\"auth\": \"{}\"}}}}, \"HttpHeaders\": {{\"X\": \"S3\"}}}}",
        BASE64_STANDARD.encode("u:known"),
        BASE64_STANDARD.encode("u:S3")
    );
    let expected = format!(
        "{{\"auths\":{{\"a\":{{\"auth\":\"{}\"}}}}}}",
        BASE64_STANDARD.encode("u:<<k>>")
    );
    assert_eq!(seen(ProgramFile::Docker, &docker), Some(expected));
    assert_eq!(seen(ProgramFile::Netrc, "machine b password S3"), None);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_or_quote(text in "(?s)[ -~\n\"':=\\[\\]{}/@#]{0,200}") {
        for kind in KINDS {
            match kind.find(&text) {
                Ok(spots) => {
                    let pairs: Vec<_> = spots.iter().map(|spot| (spot, "<<k>>".to_owned())).collect();
                    let _ = rewritten(&text, &pairs);
                }
                Err(error) => prop_assert!(error.to_string().starts_with("line "), "{error}"),
            }
        }
    }
}

/// JSON is YAML, and so is a part in braces: a key there is named, and nothing of the file is changed.
#[test]
fn a_key_in_braces_is_named() {
    let kube = "users:\n- name: me\n  user: {token: t0k}\n";
    for (kind, content) in [
        (ProgramFile::Kubernetes, kube),
        (
            ProgramFile::Kubernetes,
            "{\"users\": [{\"name\": \"me\", \"user\": {\"token\": \"t\"}}]}",
        ),
        (
            ProgramFile::Kubernetes,
            "users:\n- {name: me, user: {client-key-data: aa}}\n",
        ),
        (
            ProgramFile::GitHubCli,
            "github.com: {user: me, oauth_token: gho_a}\n",
        ),
    ] {
        let spots = kind.find(content).unwrap();
        assert!(spots.len() == 1 && spots[0].obstacle.is_some(), "{content}");
        let placed = spots
            .into_iter()
            .map(|spot| (spot, None))
            .collect::<Vec<_>>();
        assert_eq!(shown(kind, content, &placed), None);
    }
    let read = "{\n  \"oauth_token\": \"gho_a\"\n}\n";
    let spots = ProgramFile::GitHubCli.find(read).unwrap();
    assert!(spots.len() == 1 && spots[0].obstacle.is_none());
    // What holds no key, and what has another part that is read.
    let none = "preferences: {}\nclusters:\n- cluster: {server: https://a.test}\n";
    assert!(ProgramFile::Kubernetes.find(none).unwrap().is_empty());
    let both = "github.com:\n    oauth_token: gho_a\nghe.test: {oauth_token: gho_b}\n";
    let spots = ProgramFile::GitHubCli.find(both).unwrap();
    assert_eq!(spots.len(), 2);
    let placed = spots.into_iter().map(|spot| {
        let placeholder = spot.obstacle.is_none().then(|| "<<gh>>".to_owned());
        (spot, placeholder)
    });
    let text = shown(ProgramFile::GitHubCli, both, &placed.collect::<Vec<_>>()).unwrap();
    assert_eq!(text, "github.com:\n    oauth_token: \"<<gh>>\"\n");
}
