//! Short numbers from long names, where a server limits how long a name may be.

/// FNV-1a of 32 bits (Fowler, Noll, Vo). The same in every version of osc: names of tables and locks
/// are made from it.
pub(crate) fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
