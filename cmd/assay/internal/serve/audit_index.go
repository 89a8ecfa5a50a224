package serve

import (
	"context"
	"time"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// indexEvery is how often the server looks whether a segment was sealed that has no index yet, or one deleted whose index
// is still there.
const indexEvery = time.Minute

// buildIndexes makes the indexes that readers would make when they first need them, so that nobody waits, and deletes
// those of records that retention deleted. What fails concerns no decision: readers make their own.
func (t *auditTrail) buildIndexes(ctx context.Context) error {
	tick := time.NewTicker(indexEvery)
	defer tick.Stop()
	said := ""
	for {
		if err := t.buildOnce(ctx); err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			t.d.Log.Warn("audit: the index of the log is not complete; queries take longer", "cause", said)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (t *auditTrail) buildOnce(ctx context.Context) error {
	reader, err := t.log.ledger().Reader()
	if err != nil {
		return err
	}
	x, err := index.Open(reader, index.Folder(reader.Dir()))
	if err != nil {
		return err
	}
	return x.Build(ctx, 1)
}
