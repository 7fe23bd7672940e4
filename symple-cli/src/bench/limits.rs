//! How many sockets this process may have.

/// Raises the soft limit of descriptors as far as these connections need.
///
/// # Errors
/// A line that says that the hard limit is too low.
#[cfg(unix)]
pub(crate) fn allow_connections(count: usize) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Standard streams, the poll, its timer, files of /proc.
    let wanted = count as u64 + 32;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum
        && hard < wanted
    {
        return Err(format!(
            "{count} connections need {wanted} descriptors, and the hard limit is {hard}: \
             raise it (ulimit -Hn {wanted}), the server's too"
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
        .map_err(|error| format!("cannot raise the limit of descriptors: {error}"))
}

/// Where there is no such limit.
#[cfg(not(unix))]
pub(crate) fn allow_connections(_: usize) -> Result<(), String> {
    Ok(())
}
