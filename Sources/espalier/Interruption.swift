import Glibc

/// Ctrl-C and SIGTERM: the first one is remembered, so that work can be saved; the second one ends the process at once.
enum Interruption {
    /// The signal that asked to stop; nil if none has.
    static var signal: Int32? { received.pointee == 0 ? nil : received.pointee }

    /// The exit status of a program that a signal has stopped.
    static var exitStatus: Int32 { 128 + received.pointee }

    /// Begins to remember signals; before it, they end the process. A parent may have had them blocked when it started
    /// this process, which inherits that.
    static func install() {
        received.pointee = 0
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM] {
            sigaddset(&signals, number)
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { received.pointee = $0 }
            // The handler is gone after its first call: what comes next does what the system does.
            action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND)) | SA_RESTART
            sigaction(number, &action, nil)
        }
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    }
}

/// Memory that a signal handler may write; made before the first handler is installed.
nonisolated(unsafe) private let received: UnsafeMutablePointer<Int32> = {
    let pointer = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
    pointer.initialize(to: 0)
    return pointer
}()
