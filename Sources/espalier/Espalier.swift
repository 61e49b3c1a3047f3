import ArgumentParser

@main
struct Espalier: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Fine-tune an open model on private records.")
}
