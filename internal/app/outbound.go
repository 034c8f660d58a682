// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/redirects"
)

// makeOutbound says how back ends are reached. It is told which flags were given, and tells every problem of theirs.
func (o options) makeOutbound(given func(flag string) bool) (outbound.Settings, error) {
	settings, problems := outbound.Settings{}, []error{o.checkProxy(given)}
	if given("ca-file") {
		authorities, err := readAuthorities(o.caFile)
		if err != nil {
			problems = append(problems, refuse("ca-file", o.caFile, err.Error()))
		}
		settings.Authorities = authorities
	}
	if o.httpsProxy != "" {
		settings.Proxy = outbound.Proxy(o.httpsProxy, o.noProxy)
	}
	return settings, errors.Join(problems...)
}

func (o options) checkProxy(given func(flag string) bool) error {
	var problems []error
	switch {
	case !given("https-proxy"):
		if given("no-proxy") {
			problems = append(problems, errors.New("--no-proxy: it is of no use without --https-proxy: name the proxy's URL, or leave it out"))
		}
	case !strings.Contains(o.httpsProxy, "@") && strings.Contains(o.httpsProxy, "%"):
		problems = append(problems, refuse("https-proxy", "…", "want the URL of a proxy without anything escaped, which could be a password, such as "+
			"http://proxy.example.com:3128"))
	case strings.Contains(o.httpsProxy, "@"):
		problems = append(problems, refuse("https-proxy", o.httpsProxy, "a flag is no place for a password, since whoever may read the Pod reads it: "+
			"leave out what stands before the @, and have the proxy know the operator by its address"))
	case !isServer(o.httpsProxy, "http", "https") || !hasRealPort(o.httpsProxy):
		problems = append(problems, refuse("https-proxy", o.httpsProxy, "want the URL of a proxy, such as http://proxy.example.com:3128"))
	}
	for _, entry := range o.noProxy {
		if !outbound.IsDestination(entry) {
			problems = append(problems, refuse("no-proxy", entry, "want one host, domain, address or range of addresses, such as "+
				"vault.example.com, .example.com, 10.0.0.7 or 10.0.0.0/8; repeat the flag for another"))
		}
	}
	return errors.Join(append(problems, repeated{"no-proxy", o.noProxy}.once())...)
}

// hasRealPort reports whether a URL has no port, or one that there is.
func hasRealPort(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Port() == "" || isAddress(":"+u.Port()))
}

// readAuthorities repeats nothing that the file holds: somebody may have named that of a key.
func readAuthorities(path string) (*x509.CertPool, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("want the absolute path of a file of certificate authorities in PEM")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("want a file of certificate authorities in PEM that can be read: %w", err)
	}
	return outbound.BesideSystem(text)
}

// clusterConfig is how the operator, and who checks it, reach the API server.
func clusterConfig() (*rest.Config, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster: run inside one, or set KUBECONFIG: %w", err)
	}
	goStraight(config)
	return config, nil
}

// goStraight has the API server reached without a proxy, unless a kubeconfig names one, and without redirects:
// client-go would otherwise use a proxy that a variable of the environment names, which no flag allows, and take the
// operator's token along to wherever an answer sends it.
//
// What the API server warns of is left out: it can be the words of anybody's admission policy or webhook about a Secret
// that the operator writes.
func goStraight(config *rest.Config) {
	if config.Proxy == nil {
		config.Proxy = http.ProxyURL(nil)
	}
	config.Wrap(redirects.Drop)
	config.WarningHandlerWithContext = rest.NoWarnings{}
}
