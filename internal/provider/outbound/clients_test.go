// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../../.."

// harmless lists, of each package with which connections are made, what the programs may use of it outside this
// package. A type after a * may be used as a pointer alone: then its value was made elsewhere.
var harmless = map[string][]string{
	"net/http": {"*Client", "ErrServerClosed", "Error", "HTTP2Config", "Handler", "HandlerFunc", "Header",
		"MaxBytesReader", "NewServeMux", "NoBody", "ParseTime", "ProxyURL", "Request", "Response",
		"ResponseWriter", "RoundTripper", "Server", "StripPrefix"},
	"k8s.io/client-go/rest": {"*Config", "CopyConfig", "ImpersonationConfig", "Interface", "LoadTLSFiles", "NewWarningWriter",
		"NoWarnings", "RESTClientFor", "WarningWriterOptions"},
	"k8s.io/client-go/tools/clientcmd":                 {"Write"},
	"sigs.k8s.io/controller-runtime/pkg/client/config": {},
	"golang.org/x/oauth2":                              {},
	"golang.org/x/net/http2":                           {},
	"net/http/httputil":                                {},
	"net/rpc":                                          {},
	"net/smtp":                                         {},
}

// configured names the files that find out how the API server is reached. Each has the way there wrapped.
var configured = map[string]string{
	"internal/app/outbound.go": "ctrl.GetConfig",
	"internal/cli/cli.go":      "ToRESTConfig",
}

// TestClients_NoneIsMadeThatFollowsRedirects reads every file of the programs.
func TestClients_NoneIsMadeThatFollowsRedirects(t *testing.T) {
	read := 0
	for _, folder := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry os.DirEntry, err error) error {
			name, _ := filepath.Rel(root, path)
			switch {
			case err != nil:
				return err
			case entry.IsDir() && slices.Contains([]string{"internal/provider/outbound", "internal/provider/conformance", "internal/live/livetest"}, name):
				return filepath.SkipDir // what makes clients, and what tests are made of
			case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
				read++
				expectNoClients(t, name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 100 {
		t.Errorf("only %d files were read", read)
	}
}

func expectNoClients(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range file.Imports {
		path, _ := strconv.Unquote(one.Path.Value)
		allowed, watched := harmless[path]
		if !watched {
			continue
		}
		known := path[strings.LastIndex(path, "/")+1:]
		if one.Name != nil {
			known = one.Name.Name
		}
		for _, used := range usesOf(file, known) {
			if !slices.Contains(allowed, used) && !slices.Contains(allowed, strings.TrimPrefix(used, "*")) &&
				!strings.HasPrefix(used, "Status") && !strings.HasPrefix(used, "Method") {
				t.Errorf("%s uses %s of %s: have internal/provider/outbound make the client", name, used, path)
			}
		}
	}
	for _, maker := range []string{"ctrl.GetConfig", "ToRESTConfig", "InClusterConfig", "ClientConfig()"} {
		made := strings.Contains(string(text), maker)
		if made && (configured[name] != maker || !strings.Contains(string(text), "config.Wrap(redirects.Drop)")) {
			t.Errorf("%s reaches the API server by %s: have its redirects left out, as internal/app does", name, maker)
		}
	}
}

// usesOf are the names of a package that a file uses, each with a * where it is used as a pointer.
func usesOf(file *ast.File, known string) []string {
	var uses []string
	pointers := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if star, ok := n.(*ast.StarExpr); ok {
			pointers[star.X] = true
		}
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if of, ok := selector.X.(*ast.Ident); ok && of.Name == known {
			uses = append(uses, map[bool]string{true: "*"}[pointers[selector]]+selector.Sel.Name)
		}
		return true
	})
	return uses
}
