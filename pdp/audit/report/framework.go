package report

import "fmt"

// Framework is what an auditor audits against.
type Framework struct {
	// ID is how the command names it.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Prefix begins the ids of its controls in rules' metadata, such as "SOC2:".
	Prefix string `json:"prefix"`
	// Scope says what the report is not.
	Scope string `json:"scope"`
}

const scope = "Only the controls that ask something of tokens, keys and their records are listed, with what Assay recorded for them. " +
	"The report is evidence for an auditor's own judgement; it does not say that a control is fulfilled."

// Frameworks lists those that can be reported on.
func Frameworks() []Framework {
	return []Framework{
		{ID: "soc2", Title: "SOC 2, Trust Services Criteria", Prefix: "SOC2:", Scope: scope},
		{ID: "iso27001", Title: "ISO/IEC 27001:2022, Annex A", Prefix: "ISO27001:", Scope: scope},
		{ID: "gdpr", Title: "GDPR, Regulation (EU) 2016/679", Prefix: "GDPR:", Scope: scope},
	}
}

// FrameworkByID answers one of Frameworks. The error names those that there are.
func FrameworkByID(id string) (Framework, error) {
	var known string
	for i, f := range Frameworks() {
		if f.ID == id {
			return f, nil
		}
		if i > 0 {
			known += ", "
		}
		known += f.ID
	}
	return Framework{}, fmt.Errorf("there is no framework %q: choose one of %s", id, known)
}

// sections are the parts of a report that show what a control asks beside rules, by their ids in the page. This is the
// only place that says so.
func sections(control string) []string {
	switch control {
	case "SOC2:CC6.1":
		return []string{"issuers", "algorithms", "keys"}
	case "SOC2:CC6.6":
		return []string{"issuers"}
	case "SOC2:CC7.2":
		return []string{"time", "reasons", "access"}
	case "SOC2:CC7.4", "ISO27001:A.5.26":
		return []string{"revocations", "keys"}
	case "SOC2:CC8.1":
		return []string{"policy", "waivers"}
	case "ISO27001:A.5.15":
		return []string{"reasons", "policy", "access", "waivers"}
	case "ISO27001:A.5.17":
		return []string{"issuers", "keys"}
	case "ISO27001:A.5.18":
		return []string{"revocations"}
	case "ISO27001:A.5.33", "GDPR:5.1.f":
		return []string{"integrity", "evidence"}
	case "ISO27001:A.5.34", "ISO27001:A.8.11":
		return []string{"evidence"}
	case "ISO27001:A.8.5":
		return []string{"algorithms"}
	case "ISO27001:A.8.15", "GDPR:5.2":
		return []string{"time", "reasons", "integrity", "evidence"}
	case "ISO27001:A.8.24":
		return []string{"algorithms", "keys"}
	case "GDPR:5.1.e":
		return []string{"issuers", "evidence"}
	case "GDPR:25":
		return []string{"waivers", "policy"}
	}
	return []string{}
}

// sectionTitles are the page's headings.
var sectionTitles = map[string]string{
	"time": "Day by day", "reasons": "What was found", "issuers": "Issuers and lifetimes", "algorithms": "Algorithms in use", "keys": "Keys and rotations",
	"revocations": "Revocations", "policy": "Policy and configuration", "access": "Refused access", "waivers": "Waivers", "integrity": "Integrity of the log",
	"evidence": "Completeness of the evidence",
}
