package revocation

// Applied is the sequence of the last message of the stream that is in the index: Watch after it misses nothing that
// is stored from now on. 0 before any was read.
func (s *Stream) Applied() uint64 { return s.applied.Load() }
