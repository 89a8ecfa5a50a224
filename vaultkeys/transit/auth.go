package transit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// Auth is a way to log in: AppRole, Kubernetes, TokenFile or StaticToken.
type Auth interface {
	// check finds what can be found wrong without Vault.
	check() error
	// login asks Vault for a token. It reads credentials afresh each time: they may have been exchanged.
	login(ctx context.Context, client *api.Client) (*api.Secret, error)
}

// AppRole logs in with a role id and a secret id, each the content of a file.
type AppRole struct {
	// Mount is the path of the auth method below auth/; default "approle".
	Mount string
	// RoleIDFile and SecretIDFile are paths; both required.
	RoleIDFile, SecretIDFile string
}

func (a AppRole) check() error {
	if a.RoleIDFile == "" || a.SecretIDFile == "" {
		return errors.New("vault: AppRole needs role_id_file and secret_id_file")
	}
	return nil
}

func (a AppRole) login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	role, err := readSecret(a.RoleIDFile)
	if err != nil {
		return nil, err
	}
	secret, err := readSecret(a.SecretIDFile)
	if err != nil {
		return nil, err
	}
	def(&a.Mount, "approle")
	method, err := approle.NewAppRoleAuth(role, &approle.SecretID{FromString: secret}, approle.WithMountPath(a.Mount))
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, client)
}

// Kubernetes logs in with the pod's service account token.
type Kubernetes struct {
	// Mount is the path of the auth method below auth/; default "kubernetes".
	Mount string
	// Role is the role at the auth method; required.
	Role string
	// TokenFile is where the (projected) token is; default DefaultServiceAccountToken.
	TokenFile string
}

// DefaultServiceAccountToken is where Kubernetes puts a pod's token.
const DefaultServiceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path, no secret

func (k Kubernetes) check() error {
	if k.Role == "" {
		return errors.New("vault: Kubernetes authentication needs a role")
	}
	return nil
}

func (k Kubernetes) login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	def(&k.Mount, "kubernetes")
	def(&k.TokenFile, DefaultServiceAccountToken)
	token, err := readSecret(k.TokenFile)
	if err != nil {
		return nil, err
	}
	// A new method for each login: it keeps the token it was made with, and projected tokens expire.
	method, err := kubernetes.NewKubernetesAuth(k.Role, kubernetes.WithMountPath(k.Mount), kubernetes.WithServiceAccountToken(token))
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, client)
}

// TokenFile uses the token that somebody else (Vault Agent, say) keeps in a file. The file is read again
// when it changes and when Vault no longer takes the token.
type TokenFile struct{ Path string }

func (f TokenFile) check() error {
	if f.Path == "" {
		return errors.New("vault: the token file has no path")
	}
	return nil
}

func (f TokenFile) login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	token, err := readSecret(f.Path)
	if err != nil {
		return nil, err
	}
	return adopt(ctx, client, token)
}

// StaticToken is a token that never changes, for development and for one command.
type StaticToken string

// String hides the token.
func (StaticToken) String() string { return "StaticToken(hidden)" }

// GoString hides the token.
func (t StaticToken) GoString() string { return t.String() }

func (t StaticToken) check() error {
	if t == "" {
		return errors.New("vault: the token is empty")
	}
	return nil
}

func (t StaticToken) login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return adopt(ctx, client, string(t))
}

// adopt asks how long a token that we were given lives, so that it can be renewed. A token whose policy
// does not let it look at itself is used as it is.
func adopt(ctx context.Context, client *api.Client, token string) (*api.Secret, error) {
	client.SetToken(token)
	adopted := &api.Secret{Auth: &api.SecretAuth{ClientToken: token}}
	self, err := client.Auth().Token().LookupSelfWithContext(ctx)
	var status *api.ResponseError
	if errors.As(err, &status) && status.StatusCode == 403 {
		return adopted, nil
	}
	if err != nil {
		return nil, err
	}
	ttl, err := self.TokenTTL()
	if err != nil {
		return nil, err
	}
	renewable, err := self.TokenIsRenewable()
	if err != nil {
		return nil, err
	}
	adopted.Auth.LeaseDuration, adopted.Auth.Renewable = int(ttl.Seconds()), renewable
	return adopted, nil
}

// maxSecret bounds a credential file, in bytes.
const maxSecret = 64 << 10

// credentialError is a credential that cannot be read.
type credentialError struct{ cause error }

func (e *credentialError) Error() string { return "reading a credential for vault: " + e.cause.Error() }
func (e *credentialError) Unwrap() error { return e.cause }

// readSecret reads a credential without the white space around it.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", &credentialError{err}
	}
	if info.Size() > maxSecret {
		return "", &credentialError{fmt.Errorf("%s is larger than %d bytes", path, maxSecret)}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", &credentialError{err}
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", &credentialError{fmt.Errorf("%s is empty", path)}
	}
	return secret, nil
}
