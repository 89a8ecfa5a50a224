package serve

import (
	"fmt"

	"github.com/assaypdp/assay/pdp/httpapi"
)

// Health says whether correct decisions can be made. Assay can always deny correctly: an issuer whose keys
// are not known has its tokens denied, with the reason. It is failing only where issuers are configured and
// not a single one has keys, so that every answer would be a deny for the wrong reason. All else that is
// amiss makes it degraded: an outage of Vault, or of one issuer, must not take every replica out of rotation.
func (a *App) Health() httpapi.Health {
	var h httpapi.Health
	known := 0
	issuers := a.keys.Health()
	for _, issuer := range issuers {
		switch {
		case issuer.Stale:
			h.Causes = append(h.Causes, fmt.Sprintf("issuer %s: no usable keys, its tokens are denied: %s", issuer.Issuer, orUnknown(issuer.Error)))
			continue
		case issuer.Error != "":
			h.Causes = append(h.Causes, fmt.Sprintf("issuer %s: its keys could not be read again: %s", issuer.Issuer, issuer.Error))
		case issuer.WatchError != "":
			h.Causes = append(h.Causes, fmt.Sprintf("issuer %s: changes of its keys are noticed late: %s", issuer.Issuer, issuer.WatchError))
		}
		known++
	}
	if a.vault != nil {
		h.Causes = append(h.Causes, a.vault.causes()...)
	}
	if a.custodian != nil {
		h.Causes = append(h.Causes, a.custodian.causes()...)
	}
	causes, noPolicy := a.policyCauses()
	h.Causes = append(h.Causes, causes...)
	notLoaded := false
	if a.revocations != nil {
		causes, notLoaded = a.revocations.causes()
		h.Causes = append(h.Causes, causes...)
	}
	unrecorded := false
	if a.audit != nil {
		causes, unrecorded = a.audit.causes()
		h.Causes = append(h.Causes, causes...)
	}
	h.Failing = noPolicy || notLoaded || unrecorded || len(issuers) > 0 && known == 0
	return h
}

func orUnknown(text string) string {
	if text == "" {
		return "they were not read yet"
	}
	return text
}
