package transit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Plan is what differs between Vault and what is desired. Nothing but reading made it.
type Plan struct {
	// Changes are what Apply does, in this order.
	Changes []Change `json:"changes"`
	// Findings are differences that Apply does not touch: settings of existing keys that cannot be taken
	// back, or that somebody chose.
	Findings []Finding `json:"findings"`
}

// Change is one write to Vault.
type Change struct {
	// Action is "create", "update" or "rotate".
	Action string `json:"action"`
	// Path is what is written to.
	Path string `json:"path"`
	// Summary says it in words.
	Summary string `json:"summary"`
	// Detail holds the new content where it is longer than that: the HCL of a policy.
	Detail string `json:"detail,omitempty"`

	body map[string]any
	// wantType of a key that is created; rotateFrom is the latest version that a rotation starts from.
	wantType   string
	rotateFrom int
}

// Finding is a difference that a person has to judge.
type Finding struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
	Advice  string `json:"advice"`
	// Blocking findings make Apply refuse: what it would do does not fit what is there.
	Blocking bool `json:"blocking"`
}

// Plan compares Vault with what is desired. It needs to read mounts, keys, policies and roles.
func (c *Client) Plan(ctx context.Context, desired Desired) (Plan, error) {
	d, err := desired.complete()
	if err != nil {
		return Plan{}, err
	}
	policies, err := d.Policies(c.c.Mount)
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	mounted, err := c.planMount(ctx, &p, "sys/mounts", c.c.Mount, "transit", "secrets engine")
	if err != nil {
		return Plan{}, err
	}
	for i := range d.Keys {
		if err := c.planKey(ctx, &p, &d.Keys[i], mounted); err != nil {
			return Plan{}, err
		}
	}
	for _, policy := range policies {
		if err := c.planPolicy(ctx, &p, policy); err != nil {
			return Plan{}, err
		}
	}
	if d.NoAppRoles || len(d.Roles) == 0 {
		return p, nil
	}
	enabled, err := c.planMount(ctx, &p, "sys/auth", d.AppRoleMount, "approle", "auth method")
	if err != nil {
		return Plan{}, err
	}
	for i := range d.Roles {
		if err := c.planAppRole(ctx, &p, &d, &d.Roles[i], enabled); err != nil {
			return Plan{}, err
		}
	}
	return p, nil
}

// planMount says whether the mount is there, and plans it if not.
func (c *Client) planMount(ctx context.Context, p *Plan, table, mount, kind, what string) (bool, error) {
	secret, err := c.read(ctx, "read_mounts", table)
	if err != nil {
		return false, err
	}
	path := table + "/" + mount
	if secret != nil {
		if entry, ok := secret.Data[mount+"/"].(map[string]any); ok {
			if entry["type"] != kind {
				p.Findings = append(p.Findings, Finding{Path: path, Blocking: true,
					Problem: fmt.Sprintf("is of type %v, not %s", entry["type"], kind),
					Advice:  "choose another mount path in the configuration"})
			}
			return true, nil
		}
	}
	p.Changes = append(p.Changes, Change{Action: "create", Path: path, Summary: fmt.Sprintf("mount the %s %s at %s/", kind, what, mount),
		body: map[string]any{"type": kind, "description": "Assay"}})
	return false, nil
}

func (c *Client) planKey(ctx context.Context, p *Plan, k *DesiredKey, mounted bool) error {
	path := c.path("keys", k.Name)
	latest, usable := 1, 1
	var data map[string]any
	if mounted {
		secret, err := c.read(ctx, "read_key", path)
		if err != nil {
			return err
		}
		if secret != nil {
			data = secret.Data
		}
	}
	if data == nil {
		p.Changes = append(p.Changes, Change{Action: "create", Path: path, wantType: k.Type,
			Summary: fmt.Sprintf("create the key %s of type %s, not exportable", k.Name, k.Type),
			body:    k.body()})
	} else {
		var err error
		if latest, err = integer(data["latest_version"]); err != nil {
			return fmt.Errorf("vault: latest_version of key %s: %w", k.Name, err)
		}
		least, err := integer(data["min_decryption_version"])
		if err != nil {
			return fmt.Errorf("vault: min_decryption_version of key %s: %w", k.Name, err)
		}
		usable = latest - max(least, 1) + 1
		p.Findings = append(p.Findings, inspectKey(path, k, data)...)
	}
	for ; usable < k.Versions; usable++ {
		p.Changes = append(p.Changes, Change{Action: "rotate", Path: path + "/rotate", rotateFrom: latest,
			Summary: fmt.Sprintf("add version %d to the key %s, so that %d are usable", latest+1, k.Name, usable+1)})
		latest++
	}
	return nil
}

// body is the request that creates the key.
func (k *DesiredKey) body() map[string]any {
	if k.Pseudonyms {
		return map[string]any{"type": k.Type, "auto_rotate_period": int(k.AutoRotate.Seconds())}
	}
	return map[string]any{"type": k.Type}
}

// inspectKey finds settings of an existing key that are not what Plan would have made.
func inspectKey(path string, k *DesiredKey, data map[string]any) []Finding {
	var found []Finding
	add := func(blocking bool, problem, advice string) {
		found = append(found, Finding{Path: path, Problem: problem, Advice: advice, Blocking: blocking})
	}
	if data["type"] != k.Type {
		add(true, fmt.Sprintf("is of type %v, not %s", data["type"], k.Type),
			"the type of a key cannot change: choose another name, or configure the type that is there")
	}
	if data["exportable"] == true {
		add(false, "is exportable: its private key can leave Vault", "this cannot be taken back: move to a new key")
	}
	if data["allow_plaintext_backup"] == true {
		add(false, "allows a backup in plain text: its private key can leave Vault", "this cannot be taken back: move to a new key")
	}
	if data["imported_key"] == true {
		add(false, "was imported: its private key has been outside Vault", "rotate it, or move to a new key")
	}
	if data["derived"] == true {
		add(true, "is derived: its signatures depend on a context", "choose another name")
	}
	if data["deletion_allowed"] == true {
		add(false, "may be deleted", "set deletion_allowed=false at "+path+"/config")
	}
	period, err := integer(data["auto_rotate_period"])
	switch {
	case err != nil:
	case k.Pseudonyms && (period == 0 || time.Duration(period)*time.Second > k.AutoRotate):
		add(false, fmt.Sprintf("is not rotated by Vault itself every %s, so that periods share a version and can only be forgotten together", k.AutoRotate),
			fmt.Sprintf("set auto_rotate_period=%ds at %s/config", int(k.AutoRotate.Seconds()), path))
	case !k.Pseudonyms && period != 0:
		add(false, fmt.Sprintf("is rotated by Vault itself every %s", time.Duration(period)*time.Second),
			"set auto_rotate_period=0 at "+path+"/config: Assay rotates so that verifiers know a version before it signs")
	}
	return found
}

func (c *Client) planPolicy(ctx context.Context, p *Plan, policy Policy) error {
	path := "sys/policies/acl/" + policy.Name
	secret, err := c.read(ctx, "read_policy", path)
	if err != nil {
		return err
	}
	change := Change{Action: "create", Path: path, Summary: "write the policy " + policy.Name, Detail: policy.HCL,
		body: map[string]any{"policy": policy.HCL}}
	if secret != nil {
		if text, _ := secret.Data["policy"].(string); strings.TrimSpace(text) == strings.TrimSpace(policy.HCL) {
			return nil
		}
		change.Action, change.Summary = "update", "replace the policy "+policy.Name+", which differs"
	}
	p.Changes = append(p.Changes, change)
	return nil
}

func (c *Client) planAppRole(ctx context.Context, p *Plan, d *Desired, r *DesiredRole, enabled bool) error {
	path := d.appRolePath(r.Role)
	want := d.appRole(r)
	change := Change{Action: "create", Path: path, Summary: "create the AppRole " + d.Prefix + string(r.Role), body: want}
	if enabled {
		secret, err := c.read(ctx, "read_approle", path)
		if err != nil {
			return err
		}
		if secret != nil {
			differing := differences(secret.Data, want)
			if len(differing) == 0 {
				return nil
			}
			change.Action, change.Summary = "update", "set "+strings.Join(differing, ", ")+" of the AppRole "+d.Prefix+string(r.Role)
		}
	}
	p.Changes = append(p.Changes, change)
	return nil
}

func (d *Desired) appRolePath(r Role) string {
	return "auth/" + d.AppRoleMount + "/role/" + d.Prefix + string(r)
}

// appRole is the AppRole of a role, as it is written and read.
func (d *Desired) appRole(r *DesiredRole) map[string]any {
	return map[string]any{
		"token_policies":          []string{d.Prefix + string(r.Role)},
		"token_no_default_policy": true,
		"token_type":              "service",
		"token_ttl":               int(r.TokenTTL.Seconds()),
		"token_max_ttl":           int(r.TokenMaxTTL.Seconds()),
		"token_num_uses":          0,
		"bind_secret_id":          true,
		"secret_id_num_uses":      0,
		"secret_id_ttl":           int(r.SecretIDTTL.Seconds()),
		"secret_id_bound_cidrs":   r.BoundCIDRs,
		"token_bound_cidrs":       r.BoundCIDRs,
	}
}

// differences names the members of want that have another value in got, in order.
func differences(got, want map[string]any) []string {
	var names []string
	for name, value := range want {
		if plain(got[name]) != plain(value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// plain makes values of the API and of ours comparable: absent and empty lists are the same.
func plain(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	if s := string(data); s != "[]" {
		return s
	}
	return "null"
}

// Blocked lists the findings that make Apply refuse.
func (p *Plan) Blocked() []Finding {
	var blocking []Finding
	for _, f := range p.Findings {
		if f.Blocking {
			blocking = append(blocking, f)
		}
	}
	return blocking
}
