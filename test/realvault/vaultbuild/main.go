// Command vaultbuild builds the Vault server for development and tests, or finds it in the cache, and
// prints its path. Run it in a checkout:
//
//	ASSAY_DEV_VAULT=$(go run ./test/realvault/vaultbuild) assay dev
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/assaypdp/assay/test/realvault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	path, err := realvault.Build(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vaultbuild:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
