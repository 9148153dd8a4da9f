// Versity's S3 gateway over a folder, as their own program starts it, without its other stores, its commands and its
// integration tests, which take longer to compile than the rest.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Their program's own defaults.
const (
	mostConnections = 250000
	mostRequests    = 100000
	mostParts       = 10000
	mostActions     = 5000
	mostBytesCopied = 5 << 30
)

func main() {
	port := flag.String("port", "127.0.0.1:7070", "where to listen")
	quiet := flag.Bool("quiet", false, "write nothing about requests")
	users := flag.String("iam-dir", "", "folder of the users")
	flag.Parse()
	if flag.NArg() != 2 || flag.Arg(0) != "posix" {
		end(fmt.Errorf("this gateway is built for tests: it knows `posix FOLDER` alone"))
	}
	store, err := posix.New(flag.Arg(1), meta.XattrMeta{}, posix.PosixOpts{
		Concurrency: mostActions, CopyObjectThreshold: mostBytesCopied,
	})
	if err != nil {
		end(err)
	}
	end(embedgw.RunVersityGW(context.Background(), store, &embedgw.Config{
		RootUserAccess:      os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:      os.Getenv("ROOT_SECRET_KEY"),
		Ports:               []string{*port},
		MaxConnections:      mostConnections,
		MaxRequests:         mostRequests,
		AdminMaxConnections: mostConnections,
		AdminMaxRequests:    mostRequests,
		MultipartMaxParts:   mostParts,
		IAMDir:              *users,
		IAMCacheTTL:         120,
		IAMCachePrune:       3600,
		Quiet:               *quiet,
	}))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
