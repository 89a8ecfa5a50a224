package transit

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrBlocked means that a plan has findings that must be dealt with first.
var ErrBlocked = errors.New("what vault holds does not fit what is desired")

// Apply makes the changes of a plan, in order, and stops at the first that fails; a new plan then holds what
// is left. done is told after each; it may be nil. Applying the plan of what is already there does nothing.
func (c *Client) Apply(ctx context.Context, p Plan, done func(Change)) error {
	if blocked := p.Blocked(); len(blocked) > 0 {
		var lines []string
		for _, f := range blocked {
			lines = append(lines, f.Path+" "+f.Problem+": "+f.Advice)
		}
		return fmt.Errorf("%w: %s", ErrBlocked, strings.Join(lines, "; "))
	}
	for _, change := range p.Changes {
		if err := c.apply(ctx, &change); err != nil {
			return fmt.Errorf("to %s: %w", change.Summary, err)
		}
		if done != nil {
			done(change)
		}
	}
	return nil
}

func (c *Client) apply(ctx context.Context, change *Change) error {
	if change.Action == "rotate" {
		return c.rotate(ctx, strings.TrimSuffix(change.Path, "/rotate"), change.rotateFrom)
	}
	if _, err := c.write(ctx, "provision", change.Path, change.body); err != nil {
		return err
	}
	if change.wantType == "" {
		return nil
	}
	// Creating a key that somebody else has just created, with another type, succeeds and does nothing.
	secret, err := c.read(ctx, "read_key", change.Path)
	switch {
	case err != nil:
		return err
	case secret == nil:
		return fmt.Errorf("%w: the key is not there after it was created", ErrNotFound)
	case secret.Data["type"] != change.wantType:
		return fmt.Errorf("%w: the key is of type %v", ErrBlocked, secret.Data["type"])
	}
	return nil
}

// Rotate adds a version to a key whose latest version is from, and does nothing where there is a later one
// already: two custodians that come to the same conclusion make one new version, or at worst one too many.
// It is never repeated, for each time it succeeds there is one more version.
func (c *Client) Rotate(ctx context.Context, key string, from int) error {
	if err := checkName("key", key); err != nil {
		return err
	}
	return c.rotate(ctx, c.path("keys", key), from)
}

func (c *Client) rotate(ctx context.Context, path string, from int) error {
	secret, err := c.read(ctx, "read_key", path)
	if err != nil {
		return err
	}
	if secret == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	latest, err := integer(secret.Data["latest_version"])
	if err != nil {
		return fmt.Errorf("vault: latest_version of %s: %w", path, err)
	}
	if latest > from {
		return nil
	}
	_, err = c.write(ctx, "rotate", path+"/rotate", nil)
	return err
}

// Credentials are what a role logs in with. They belong into files of mode 0600.
type Credentials struct {
	RoleID, SecretID string
	// SecretIDAccessor names the secret id without revealing it, to destroy it later.
	SecretIDAccessor string
}

// String hides the secret id.
func (c Credentials) String() string { return "credentials of role id " + c.RoleID }

// GoString hides the secret id.
func (c Credentials) GoString() string { return c.String() }

// Issue makes a new secret id for the AppRole of a role. Earlier ones stay good.
func (c *Client) Issue(ctx context.Context, desired Desired, role Role) (Credentials, error) {
	d, err := desired.complete()
	if err != nil {
		return Credentials{}, err
	}
	path := d.appRolePath(role)
	id, err := c.read(ctx, "read_role_id", path+"/role-id")
	if err != nil {
		return Credentials{}, err
	}
	if id == nil {
		return Credentials{}, fmt.Errorf("%w: %s: apply the plan first", ErrNotFound, path)
	}
	secret, err := c.write(ctx, "issue_secret_id", path+"/secret-id", nil)
	if err != nil {
		return Credentials{}, err
	}
	var made Credentials
	var ok1, ok2, ok3 bool
	made.RoleID, ok1 = id.Data["role_id"].(string)
	made.SecretID, ok2 = secret.Data["secret_id"].(string)
	made.SecretIDAccessor, ok3 = secret.Data["secret_id_accessor"].(string)
	if !ok1 || !ok2 || !ok3 {
		return Credentials{}, fmt.Errorf("vault: %s: the answer lacks role_id, secret_id or secret_id_accessor", path)
	}
	return made, nil
}
