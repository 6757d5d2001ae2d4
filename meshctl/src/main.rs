//! The command line of the mesh.

fn main() -> std::process::ExitCode {
    meshctl::main()
}
