//! The environment is moved away from where it lay at the start: behind the arguments, where a title of the process may
//! be longer than they were.

/// Has the C library keep copies of all variables, and look nowhere else.
///
/// # Safety
/// No other thread runs yet, and nobody holds a pointer into the environment.
pub unsafe fn settle() {
    for (name, value) in std::env::vars_os() {
        // SAFETY: no other thread reads the environment meanwhile, as the caller promises. The C library copies what it
        // is given and points at the copy from then on.
        unsafe { std::env::set_var(name, value) };
    }
}
