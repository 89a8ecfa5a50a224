package upload

import (
	"context"
	"fmt"
)

// Loss are records that will not be delivered to a destination: Records of them, from First on.
type Loss struct {
	Destination    string
	First, Records int64
}

// GiveUp has nobody wait any longer for the records below an index: those that were not delivered are told and counted as
// missed, and the next to be delivered is the one at the index. It is for retention, which must not be held up for ever by
// a destination that is gone. One delivery that is under way may take some of them there nevertheless.
func (s *Shipper) GiveUp(ctx context.Context, below int64) error { return s.pass(ctx, below) }

// pass goes past what lies before an index and was not delivered: what was given up, or is not in the log any more.
func (s *Shipper) pass(ctx context.Context, below int64) error {
	s.moving.Lock()
	defer s.moving.Unlock()
	at := s.at()
	if below <= at.Next {
		return nil
	}
	loss := Loss{Destination: s.c.Name, First: at.Next, Records: below - at.Next}
	if s.c.Missed != nil && below > s.told { // told once, though the cursor may take several attempts
		if err := s.c.Missed(ctx, loss); err != nil {
			return fmt.Errorf("upload: that %d records will not be delivered cannot be written down: %w", loss.Records, err)
		}
		s.told = below
	}
	at.Next, at.LeafHash = below, ""
	at.Missed += loss.Records
	if err := s.put(at); err != nil {
		return err
	}
	s.c.Observer.RecordsMissed(s.c.Name, loss.Records)
	s.c.Logger.Error("audit upload: records will not be delivered: retention deletes or deleted them",
		"destination", s.c.Name, "first", loss.First, "records", loss.Records, "next", below)
	return nil
}
