package serve

import (
	"fmt"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/audit/upload"
)

// publishers are the places outside where checkpoints are put. close ends their connections.
func publishers(c *config.Audit, d Deps) (places []ledger.Publisher, closeAll func(), err error) {
	var open []*upload.Checkpoints
	closeAll = func() {
		for _, p := range open {
			p.Close()
		}
	}
	for i := range c.Checkpoint.Publish {
		p := &c.Checkpoint.Publish[i]
		var place ledger.Publisher
		switch {
		case p.File != "":
			place = ledger.FilePublisher{Path: p.File}
		case p.URL != "":
			place, err = ledger.NewHTTPPublisher(ledger.HTTPConfig{URL: p.URL, TokenFile: p.TokenFile, CAFile: p.CAFile})
		default:
			var to *upload.Checkpoints
			to, err = upload.NewCheckpoints(upload.CheckpointsConfig{
				NATS:    upload.NATSConfig{URL: p.NATS, CredentialsFile: p.CredentialsFile, CAFile: p.CAFile},
				Subject: p.Subject, Log: c.Origin, Logger: d.Log,
			})
			if err == nil {
				open, place = append(open, to), to
			}
		}
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("audit.checkpoint.publish[%d]: %w", i, err)
		}
		places = append(places, place)
	}
	return places, closeAll, nil
}
