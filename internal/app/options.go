// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/signer"
)

// options are the operator's flags, and the clock it goes by.
type options struct {
	clock               clock.PassiveClock
	namespace           string
	identitiesNamespace string
	awsEndpoints        list
	awsAudiences        list
	kubernetesServers   list
	vaultAddresses      list
	vaultAudiences      list
	gcpEndpoints        list
	gcpAudiences        list
	githubAPIs          list
	signerPlaces        list
	signers             map[string]signer.Signer
	tokenIssuer         string
	tokenSigner         string
	tokenAddress        string
	tokenCertDir        string
	auditFile           string
	auditMaxSizeMB      int
	auditBackups        int
	retention           time.Duration
	jobTimeout          time.Duration
	identityExtraKey    string
	workers             int
	leaderElect         bool
	leaseDuration       time.Duration
	metricsAddress      string
	traceEndpoint       string
	healthAddress       string
	verbose             bool
}

// defaultServer is the API server's name in every cluster.
const defaultServer = "https://kubernetes.default.svc"

// list is a flag that can be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("manager", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.namespace, "namespace", "valetkey-system", "namespace that the operator runs in; its leader lease is kept there")
	f.StringVar(&o.identitiesNamespace, "identities-namespace", "valetkey-identities", "namespace of the capabilities' ServiceAccounts")
	f.Var(&o.awsEndpoints, "aws-endpoint", "URL that a CapabilityProvider may name as stsEndpoint, iamEndpoint or serviceEndpoint, beside AWS's own; can be repeated")
	f.Var(&o.awsAudiences, "aws-audience", "audience that a CapabilityProvider may name; can be repeated (default sts.amazonaws.com)")
	f.Var(&o.kubernetesServers, "kubernetes-server", "URL of the API server that a CapabilityProvider may name, as Pods reach it; can be repeated (default "+defaultServer+")")
	f.Var(&o.vaultAddresses, "vault-address", "URL of a Vault that a CapabilityProvider may name; can be repeated")
	f.Var(&o.vaultAudiences, "vault-audience", "audience that a CapabilityProvider of Vault may name; can be repeated (default vault)")
	f.Var(&o.gcpEndpoints, "gcp-endpoint", "URL that a CapabilityProvider of Google Cloud may name as stsEndpoint or iamCredentialsEndpoint, beside Google's own; can be repeated")
	f.Var(&o.gcpAudiences, "gcp-audience", "https://iam.googleapis.com/ and the workloadIdentityProvider that a CapabilityProvider of Google Cloud may name; can be repeated")
	f.Var(&o.githubAPIs, "github-api", "URL of a GitHub API that a CapabilityProvider may name, beside GitHub's own; can be repeated")
	f.Var(&o.signerPlaces, "signer", "NAME=PLACE of a key that CapabilityProviders know by that name: the path of a private key in PEM, in a volume, or unix:///path/to/socket of an external signer; can be repeated")
	f.StringVar(&o.tokenIssuer, "token-issuer", "", "URL at which internal services reach this operator as an issuer of signed tokens; empty issues none")
	f.StringVar(&o.tokenSigner, "token-signer", "", "name of the --signer that signs them")
	f.StringVar(&o.tokenAddress, "token-address", ":8443", "address at which discovery, keys and introspection are served, with --token-issuer")
	f.StringVar(&o.tokenCertDir, "token-cert-dir", "", "directory of tls.crt and tls.key for that address, which may be renewed; empty serves plain HTTP, for a proxy of the Pod's own")
	f.StringVar(&o.auditFile, "audit-file", "/var/log/valetkey/audit.log", "file of the audit log; nothing is issued while it cannot be written")
	f.IntVar(&o.auditMaxSizeMB, "audit-max-size", 100, "size in MiB at which the audit log is rotated")
	f.IntVar(&o.auditBackups, "audit-backups", 0, "rotated audit logs that are kept; 0 keeps all")
	f.DurationVar(&o.retention, "retention", 7*24*time.Hour, "how long an ended request and its grant are kept")
	f.DurationVar(&o.jobTimeout, "job-timeout", 10*time.Minute, "how long a request waits for its Job")
	f.StringVar(&o.identityExtraKey, "identity-extra-key", "", "key of a user's extra, such as example.com/employee-id, whose value is the same for one person under every user name; nobody approves twice, or their own request, under another name (default: the user name alone)")
	f.IntVar(&o.workers, "workers", 16, "requests, and grants, worked on at the same time")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "let one of several operators work at a time")
	f.DurationVar(&o.leaseDuration, "leader-lease", 15*time.Second, "how long a leader that is not heard of keeps its lease")
	f.StringVar(&o.metricsAddress, "metrics-address", ":8080", "address of the metrics; 0 turns them off")
	f.StringVar(&o.traceEndpoint, "trace-endpoint", "", "URL of a collector that takes traces by OTLP over HTTP, such as https://collector.example.com:4318; empty sends none")
	f.StringVar(&o.healthAddress, "health-address", ":8081", "address of /healthz and /readyz")
	f.BoolVar(&o.verbose, "verbose", false, "log every step")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if len(o.awsAudiences) == 0 {
		o.awsAudiences = list{"sts.amazonaws.com"}
	}
	if len(o.vaultAudiences) == 0 {
		o.vaultAudiences = list{"vault"}
	}
	if len(o.kubernetesServers) == 0 {
		o.kubernetesServers = list{defaultServer}
	}
	problem := o.validate(f.Args())
	var err error
	o.signers, err = makeSigners(o.signerPlaces)
	if err == nil && o.tokenIssuer != "" && o.signers[o.tokenSigner] == nil {
		err = fmt.Errorf("--token-signer %q: want the name of a --signer, for --token-issuer", o.tokenSigner)
	}
	return o, errors.Join(problem, err)
}

// signerName is how a provider may name a signer.
var signerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func makeSigners(places list) (map[string]signer.Signer, error) {
	signers, problems := map[string]signer.Signer{}, []error{}
	for _, entry := range places {
		name, place, _ := strings.Cut(entry, "=")
		s, err := signer.New(place)
		switch {
		case !signerName.MatchString(name):
			err = errors.New("the name is of lower case letters, digits and dashes")
		case signers[name] != nil:
			err = errors.New("the name stands twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("--signer: want NAME=PLACE: %w", err))
			continue
		}
		signers[name] = s
	}
	return signers, errors.Join(problems...)
}

func (o options) validate(rest []string) error {
	var problems []error
	if len(rest) > 0 {
		problems = append(problems, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	for _, endpoint := range o.awsEndpoints {
		if !isServer(endpoint, "https", "http") {
			problems = append(problems, fmt.Errorf("--aws-endpoint %q: want a URL such as https://sts.example.com", endpoint))
		}
	}
	for _, endpoint := range o.gcpEndpoints {
		if !isServer(endpoint, "https", "http") {
			problems = append(problems, fmt.Errorf("--gcp-endpoint %q: want a URL such as https://sts.example.com", endpoint))
		}
	}
	for _, address := range o.vaultAddresses {
		if !isServer(address, "https", "http") {
			problems = append(problems, fmt.Errorf("--vault-address %q: want a URL such as https://vault.example.com:8200", address))
		}
	}
	for _, api := range o.githubAPIs {
		if !isServer(strings.TrimSuffix(api, "/api/v3"), "https", "http") {
			problems = append(problems, fmt.Errorf("--github-api %q: want a URL such as https://github.example.com/api/v3", api))
		}
	}
	for _, server := range o.kubernetesServers {
		if !isServer(server, "https") {
			problems = append(problems, fmt.Errorf("--kubernetes-server %q: want a URL such as %s", server, defaultServer))
		}
	}
	if o.tokenIssuer != "" && !isServer(o.tokenIssuer, "https", "http") {
		problems = append(problems, fmt.Errorf("--token-issuer %q: want a URL such as https://valetkey.example.com", o.tokenIssuer))
	}
	if o.traceEndpoint != "" && !isServer(o.traceEndpoint, "https", "http") {
		problems = append(problems, fmt.Errorf("--trace-endpoint %q: want a URL such as https://collector.example.com:4318", o.traceEndpoint))
	}
	if o.auditFile == "" {
		problems = append(problems, errors.New("--audit-file: name a file; nothing is issued without an audit log"))
	}
	for name, value := range map[string]time.Duration{"retention": o.retention, "job-timeout": o.jobTimeout, "leader-lease": o.leaseDuration} {
		if value < time.Second {
			problems = append(problems, fmt.Errorf("--%s %s: want at least 1s", name, value))
		}
	}
	if o.workers < 1 || o.auditMaxSizeMB < 1 || o.auditBackups < 0 {
		problems = append(problems, errors.New("--workers and --audit-max-size are at least 1, --audit-backups at least 0"))
	}
	return errors.Join(problems...)
}

// isServer reports whether a URL names a server and nothing else.
func isServer(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && slices.Contains(schemes, u.Scheme) && u.Host != "" && strings.Trim(u.Path, "/") == "" && u.User == nil && u.RawQuery == ""
}
