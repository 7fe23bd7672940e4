//! The file `.env`, and variables that others set (SPEC §11).

use super::*;

/// What the Node server reads is read, and what it ignores is ignored.
#[test]
fn what_others_write_there() {
    let folder = folder("dot-env");
    for (text, name, expected) in [
        ("SYMPLE_REDIS_PREFIX=pa$word:\n", "redis-prefix", "pa$word: SYMPLE_REDIS_PREFIX in .env"),
        ("APP_NAME=My App\nPORT=1\n", "port", "1 PORT in .env"),
        ("\u{feff}PORT=1\n", "port", "1 PORT in .env"),
        ("MOTD=it's fine\nPORT=1", "port", "1 PORT in .env"),
        (
            "SYMPLE_SSL_CERT=C:\\certs\\a.pem",
            "ssl-cert",
            "C:\\certs\\a.pem SYMPLE_SSL_CERT in .env",
        ),
        ("export PORT='1' # here\r\n", "port", "1 PORT in .env"),
        ("PORT=1\nPORT=\n", "port", "4500 default"),
        ("[section]\n%nonsense\n", "port", "4500 default"),
    ] {
        std::fs::write(folder.join(".env"), text).unwrap();
        assert_eq!(checked(&folder, &[], &[], name), expected, "{text:?}");
    }
    std::fs::write(folder.join(".env"), b"A=\xff\xfe\nSYMPLE_PATH=/\xff\nPORT=1\n").unwrap();
    assert_eq!(checked(&folder, &[], &[], "port"), "1 PORT in .env");
    assert_eq!(checked(&folder, &[], &[], "path"), "/\u{fffd} SYMPLE_PATH in .env");
}

/// No value is ever repeated, for it may be a secret, or have swallowed one.
#[test]
fn no_value_is_told() {
    let folder = folder("dot-env-secret");
    for text in [
        "PORT='1\nSYMPLE_REDIS_PASSWORD=hunter2\nX='\n",
        "SYMPLE_ALLOWED_ORIGINS='a\nhunter2,b\n'",
        "SYMPLE_TRUSTED_PROXIES=hunter2",
        "SYMPLE_RUNTIME=hunter2",
        "SYMPLE_PATH=hunter2",
        "SYMPLE_REDIS_URL=hunter2",
        "SYMPLE_REDIS_URL=http://:hunter2@localhost/",
        "SYMPLE_PING_INTERVAL=hunter2",
        "SYMPLE_AUTHENTICATION=hunter2",
        "SYMPLE_REDIS_PORT=hunter2",
    ] {
        std::fs::write(folder.join(".env"), text).unwrap();
        for command in ["check-config", "serve"] {
            let (code, _, stderr) = run(&folder, &[command], &[]);
            assert_eq!((code, stderr.lines().count()), (2, 1), "{text}: {stderr}");
            assert!(!stderr.contains("hunter2") && stderr.contains("in .env"), "{text}: {stderr}");
        }
    }
    std::fs::write(folder.join(".env"), "SYMPLE_REDIS_PASSWORD=correct horse battery\n").unwrap();
    let (code, stdout, stderr) = run(&folder, &["check-config"], &[]);
    assert!(code == 0 && !stdout.contains("horse"), "{stdout}{stderr}");
    // Nothing but that it has no effect, and that without its value.
    let expected = "symple: warning: redis-password (SYMPLE_REDIS_PASSWORD in .env) has no effect: \
                    there is no Redis (redis-url)\n";
    assert_eq!(stderr, expected);
}

/// A file that cannot be read is one line; a folder of that name is none of ours.
#[test]
fn a_file_that_cannot_be_read() {
    let folder = folder("dot-env-unread");
    let file = folder.join(".env");
    std::fs::create_dir(&file).unwrap();
    assert_eq!(checked(&folder, &[], &[], "port"), "4500 default");
    std::fs::remove_dir(&file).unwrap();
    #[cfg(unix)]
    {
        // Also whoever may read everything cannot read a link to itself.
        std::os::unix::fs::symlink(".env", &file).unwrap();
        let (code, _, stderr) = run(&folder, &["check-config"], &[]);
        assert!(code == 2 && stderr.starts_with("symple: cannot read .env: "), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
        std::fs::remove_file(&file).unwrap();
    }
    std::fs::write(&file, "#".repeat(1024 * 1024 + 1)).unwrap();
    let (code, _, stderr) = run(&folder, &["check-config"], &[]);
    assert_eq!((code, &*stderr), (2, "symple: cannot read .env: it is larger than 1 MiB\n"));
}

/// Kubernetes sets `REDIS_PORT` and `SYMPLE_PORT` to something else where there are services of
/// these names.
#[test]
fn links_to_services() {
    let folder = folder("kubernetes");
    let link = "tcp://10.96.0.7:6379";
    for (variables, setting, expected, ignored) in [
        (vec![("SYMPLE_PORT", link)], "port", "4500 default", "SYMPLE_PORT"),
        (vec![("SYMPLE_PORT", link), ("PORT", "1")], "port", "1 PORT", ""),
        (vec![("PORT", link), ("SYMPLE_PORT", "1")], "port", "1 SYMPLE_PORT", "PORT"),
        (vec![("REDIS_PORT", link)], "redis-port", "- default", "REDIS_PORT"),
        (vec![("REDIS_PORT", link)], "redis-url", "- default", "REDIS_PORT"),
        (
            vec![("SYMPLE_REDIS_PORT", link), ("REDIS_PORT", "7")],
            "redis-port",
            "7 REDIS_PORT",
            "SYMPLE_REDIS_PORT",
        ),
        (
            vec![("REDIS_PORT", link), ("REDIS_URL", "redis://redis:1")],
            "redis-url",
            "redis://redis:1 REDIS_URL",
            "REDIS_PORT",
        ),
    ] {
        assert_eq!(checked(&folder, &[], &variables, setting), expected, "{variables:?}");
        let (_, _, stderr) = run(&folder, &["check-config"], &variables);
        let warning = format!("symple: warning: {ignored} is ignored: ");
        let said = stderr.starts_with(&warning) && stderr.lines().count() == 1;
        assert!(said || (ignored.is_empty() && stderr.is_empty()), "{variables:?}: {stderr}");
    }
    // It is no port where someone writes it.
    let (code, _, stderr) = run(&folder, &["check-config", "--port", link], &[]);
    assert!(code == 2 && stderr.lines().count() == 1, "{stderr}");
    let (_, _, stderr) = run(&folder, &["serve", "--host", "x y"], &[("SYMPLE_PORT", link)]);
    assert!(stderr.contains("WARN SYMPLE_PORT is ignored"), "{stderr}");
}

/// What does not count cannot be wrong.
#[test]
fn variables_that_others_win_over() {
    let folder = folder("unused");
    let nonsense = [
        ("SYMPLE_PORT", "x"),
        ("REDIS_URL", "x"),
        ("SYMPLE_REDIS_PORT", "x"),
        ("SYMPLE_REDIS_HOST", "x y"),
        ("SYMPLE_REDIS_PROTOCOL", "x"),
    ];
    let variables =
        [&nonsense[..], &[("PORT", "1"), ("SYMPLE_REDIS_URL", "redis://redis:1")]].concat();
    assert_eq!(checked(&folder, &[], &variables, "port"), "1 PORT");
    assert_eq!(checked(&folder, &[], &variables, "redis-url"), "redis://redis:1 SYMPLE_REDIS_URL");
}
