#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| osc_fuzz::run("pgoutput", data));
