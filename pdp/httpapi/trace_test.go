package httpapi

import (
	"strings"
	"testing"
)

func TestTrace(t *testing.T) {
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	good := "00-" + id + "-" + span + "-01"
	for name, tc := range map[string]struct {
		fields []string
		read   bool
	}{
		"as it should be":          {[]string{good}, true},
		"of a later version":       {[]string{"01" + good[2:] + "-what-comes"}, true},
		"none":                     {nil, false},
		"two":                      {[]string{good, good}, false},
		"empty":                    {[]string{""}, false},
		"too short":                {[]string{good[:54]}, false},
		"too long":                 {[]string{good + "-more"}, false},
		"longer without a dash":    {[]string{"01" + good[2:] + "more"}, false},
		"of no version":            {[]string{"ff" + good[2:]}, false},
		"upper case":               {[]string{strings.ToUpper(good)}, false},
		"a mail address in it":     {[]string{"00-jane.doe@example.org00000000000-" + span + "-01"}, false},
		"an empty trace":           {[]string{"00-" + strings.Repeat("0", 32) + "-" + span + "-01"}, false},
		"an empty span":            {[]string{"00-" + id + "-" + strings.Repeat("0", 16) + "-01"}, false},
		"flags that are no flags":  {[]string{good[:53] + "xx"}, false},
		"a dash at another place":  {[]string{"00" + id + "--" + span + "-01"}, false},
		"a version that is no hex": {[]string{"zz" + good[2:]}, false},
	} {
		t.Run(name, func(t *testing.T) {
			traceID, spanID := trace(tc.fields)
			if tc.read && (traceID != id || spanID != span) || !tc.read && traceID+spanID != "" {
				t.Errorf("read %q and %q", traceID, spanID)
			}
		})
	}
}
