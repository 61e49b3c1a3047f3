import ArgumentParser
import Diagnostics
import Formats
import Glibc
import Recipes

@main
struct Espalier: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "espalier",
        abstract: "Fine-tune an open language model on private records, on this machine, into an adapter you own.",
        discussion: """
            A first run:
              espalier plan recipes/finance/banking77-quickstart.yaml
              espalier train recipes/finance/banking77-quickstart.yaml
              espalier evaluate recipes/finance/banking77-quickstart.yaml
            """,
        version: "espalier \(Version.current)",
        subcommands: [
            DoctorCommand.self, InspectCommand.self, PlanCommand.self, PreviewCommand.self, TrainCommand.self,
            ReplayCommand.self,
            EvaluateCommand.self, GenerateCommand.self, ChatCommand.self, MergeCommand.self, TokenizeCommand.self,
            RenderCommand.self,
            ParityCommand.self,
            BenchCommand.self,
        ])

    /// Every way out: 0, the exit status of a diagnostic, or the argument parser's 64.
    static func main() {
        // A reader that closes its end of a pipe is an error of writing, not a signal.
        signal(SIGPIPE, SIG_IGN)
        MappedFile.reportFaults()
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            var command = try parseAsRoot(arguments)
            try command.run()
        } catch let error as Diagnostic {
            report(error, asJSON: arguments.contains("--json"))
            Glibc.exit(error.code.exit.rawValue)
        } catch {
            exit(withError: error)
        }
    }
}
