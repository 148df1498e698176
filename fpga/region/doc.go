// Package region makes a port hold a function, once, whoever asks and however often.
//
// Ensure is the only way in which Inlay programs an FPGA: the container hook, the bench tool and the stand-alone hook
// call it. It guarantees that
//
//   - nobody else has the port open while it looks and programs (O_EXCL), and that one process at a time touches a
//     management engine (a lock file each in the run folder);
//   - a bitstream is verified in full before the card sees a byte of it;
//   - after success the port reads back as the function, and the load record beside the lock says which file that was;
//   - the caller's deadline ends the caller's wait, never a reconfiguration: the kernel finishes that, the lock stays
//     held until then, and the next caller verifies what came of it;
//   - a process killed at any point leaves nothing that the next one cannot see: the lock goes with the process, and
//     the record was marked before the reconfiguration began.
//
// Pair decides which port is to hold which function; it is a pure function that the NRI plugin and the stand-alone hook
// share.
package region
