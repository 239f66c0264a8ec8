//! The way to a server: HTTPS, proxies, a gateway that asks for a password, and what is refused for being unsafe.

use std::fs;
use std::net::SocketAddr;

use peergos_testing::{Answer, Server as Front, forward};
use rustls::ServerConfig;

use crate::harness::{Account, Authority, Drive, Proxy, Server, Way, expect_failure, filled};

/// Exit codes, as `--help` documents them.
const USAGE: Option<i32> = Some(2);
const SERVER: Option<i32> = Some(7);

/// TLS in front of a server.
fn front(config: ServerConfig, to: SocketAddr) -> Front {
    Front::tls(config, move |asked, _| Answer::Raw(forward(to, asked)))
}

/// Mounts an account, writes, and finds what was written on the next mount.
fn used(mut drive: Drive) {
    drive.mount();
    fs::write(drive.path("large"), filled(1, 3 << 20)).unwrap();
    fs::write(drive.path("small"), "small").unwrap();
    drive.remount();
    assert!(fs::read(drive.path("large")).unwrap() == filled(1, 3 << 20));
    assert_eq!(fs::read(drive.path("small")).unwrap(), b"small");
    drive.unmount();
}

#[test]
fn https() {
    let server = Server::start();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let front = front(authority.server("localhost"), server.address());
    let port = front.address().port();
    let drive = |host: &str| Drive::at(&format!("https://{host}:{port}"), &Account::carol());
    let refused = |drive: &Drive, ca: Option<&Authority>, words: &[&str]| {
        let mut command = drive.command();
        if let Some(ca) = ca {
            ca.write(&drive.beside("ca.pem"));
            command.arg("--ca-file").arg(drive.beside("ca.pem"));
        }
        let ran = expect_failure(&mut command, words);
        assert!(ran.err.contains("no secure connection"), "{}", ran.err);
        assert_eq!(ran.code, SERVER, "{}", ran.err);
    };
    refused(&drive("localhost"), None, &["--ca-file"]);
    refused(&drive("localhost"), Some(&stranger), &["certificate"]);
    refused(&drive("127.0.0.1"), Some(&authority), &["not valid for"]);
    assert!(front.asked().is_empty(), "something was said to a server that nobody trusts");

    let trusting = drive("localhost");
    let ca_file = trusting.beside("ca.pem");
    fs::write(&ca_file, "").unwrap();
    let args = ["--sign-up", "--ca-file", ca_file.to_str().unwrap()];
    let trusting = trusting.with_args(&args);
    let ran = expect_failure(&mut trusting.command(), &["there are none"]);
    assert_eq!(ran.code, USAGE, "{}", ran.err);
    authority.write(&ca_file);
    used(trusting);
    assert!(front.asked().len() > 10);
    // without being named, as the system's own
    let system = Account { username: "dave".into(), ..Account::carol() };
    let system = Drive::at(&format!("https://localhost:{port}"), &system);
    let ca_file = system.beside("ca.pem");
    authority.write(&ca_file);
    used(system.with_env("SSL_CERT_FILE", ca_file.to_str().unwrap()));
    server.check(&Account::carol());
    server.stop();
}

#[test]
fn proxies() {
    let server = Server::with(&["--open-sign-ups", "--host", "peergos.test"]);
    let authority = Authority::new();
    let front = front(authority.server("peergos.test"), server.address());
    for (way, username) in [(Way::Http, "ada"), (Way::Socks, "bob")] {
        let account = Account { username: username.into(), ..Account::carol() };
        // nobody but the proxy knows where peergos.test is
        let (plain, secure) = (Proxy::start(way, server.address()), Proxy::start(way, front.address()));
        for (url, proxy, more) in [
            ("http://peergos.test", &plain, &["--insecure-http", "--sign-up"][..]),
            ("https://peergos.test", &secure, &["--ca-file", "ca.pem", "--sign-up"]),
        ] {
            let drive = Drive::at(url, &account);
            let ca_file = drive.beside("ca.pem");
            authority.write(&ca_file);
            let more = more.iter().map(|&arg| if arg == "ca.pem" { ca_file.to_str().unwrap() } else { arg });
            let drive = drive.with_args(&more.collect::<Vec<_>>());
            let ran = expect_failure(drive.command().env("PEERGOS_PROXY", proxy.url()), &["cannot be reached"]);
            assert_eq!(ran.code, SERVER, "{}", ran.err);
            // passwords are no arguments
            let ran = expect_failure(drive.command().args(["--proxy", &proxy.url_with_login()]), &["peergos_proxy"]);
            assert_eq!(ran.code, USAGE, "{}", ran.err);
            assert!(proxy.wanted().is_empty());
            used(drive.with_env("PEERGOS_PROXY", &proxy.url_with_login()));
            let port = if url.starts_with("https") { 443 } else { 80 };
            let wanted = proxy.wanted();
            assert!(!wanted.is_empty() && wanted.iter().all(|to| *to == format!("peergos.test:{port}")), "{wanted:?}");
        }
        server.check(&account);
    }
    server.stop();
}

#[test]
fn a_gateway_with_a_password() {
    let server = Server::start();
    let to = server.address();
    let gateway = Front::new(move |asked, _| match asked.headers.get("authorization") {
        // ada:p@ss
        Some(login) if login == "Basic YWRhOnBAc3M=" => Answer::Raw(forward(to, asked)),
        _ => Answer::Status(401),
    });
    let outside = Drive::at(&gateway.url(), &Account::carol());
    let ran = expect_failure(&mut outside.command(), &["peergos_server"]);
    assert_eq!(ran.code, SERVER, "{}", ran.err);
    let url = gateway.url().replace("//", "//ada:p%40ss@");
    let ran = expect_failure(&mut Drive::at(&url, &Account::carol()).command(), &["peergos_server"]);
    assert_eq!(ran.code, USAGE, "{}", ran.err);
    assert!(!ran.err.contains("p%40ss"), "{}", ran.err);

    let mut drive = Drive::new().with_args(&["--sign-up"]).with_env("PEERGOS_SERVER", &url);
    drive.mount();
    fs::write(drive.path("x"), "x").unwrap();
    let arguments = fs::read(format!("/proc/{}/cmdline", drive.daemon().pid().as_raw_nonzero())).unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    for (what, text) in [("arguments", String::from_utf8_lossy(&arguments).into_owned()), ("mounts", mounts)] {
        assert!(!text.contains("p%40ss") && !text.contains("p@ss"), "the password is among the {what}");
    }
    assert!(!drive.daemon().log().contains("p%40ss"));
    drive.unmount();
    server.check(&Account::carol());
    server.stop();
}

#[test]
fn plain_http_is_for_this_machine() {
    // an address that nobody has
    let drive = Drive::at("http://192.0.2.1", &Account::carol()).with_args(&["--sign-up"]);
    let ran = expect_failure(&mut drive.command(), &["--insecure-http"]);
    assert_eq!(ran.code, USAGE, "{}", ran.err);
    let ran = expect_failure(&mut Drive::at("https://localhost:1", &Account::carol()).command(), &["reached"]);
    assert_eq!(ran.code, SERVER, "{}", ran.err);
}
