mod hooks;
mod metrics;
