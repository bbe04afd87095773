#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| panda_protocol_fuzz::link_frame(data));
