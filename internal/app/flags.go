// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"time"

	"github.com/spf13/pflag"
)

// defaultServer is the API server's name in every cluster.
const defaultServer = "https://kubernetes.default.svc"

// group is what --help shows together.
type group struct {
	title string
	flags *pflag.FlagSet
}

// groups are all flags, in the order in which a person needs them. The library leaves out defaults that are nothing: those the words tell.
func (o *options) groups() []group {
	var groups []group
	for _, g := range []struct {
		title string
		add   func(*pflag.FlagSet)
	}{
		{"Where it works", o.addNamespaces}, {"The audit log", o.addAudit}, {"Requests and people", o.addRequests},
		{"The way to back ends", o.addOutbound}, {"AWS", o.addAWS}, {"Kubernetes", o.addKubernetes}, {"Vault", o.addVault}, {"Google Cloud", o.addGCP}, {"GitHub", o.addGitHub},
		{"Signing keys, and tokens for internal services", o.addTokens}, {"Replicas", o.addReplicas}, {"Looking at it", o.addLooks},
	} {
		flags := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		flags.SortFlags = false
		g.add(flags)
		groups = append(groups, group{g.title, flags})
	}
	return groups
}

func (o *options) addNamespaces(f *pflag.FlagSet) {
	f.StringArrayVar(&o.watchNamespaces, "watch-namespace", nil, "`namespace` whose requests are served, and no others; can be repeated (default: every enrolled one)")
	f.StringVar(&o.namespace, "namespace", "valetkey-system", "`namespace` that the operator runs in; its leader lease is kept there")
	f.StringVar(&o.identitiesNamespace, "identities-namespace", "valetkey-identities", "`namespace` of the capabilities' ServiceAccounts")
}

func (o *options) addAudit(f *pflag.FlagSet) {
	f.StringVar(&o.auditFile, "audit-file", "/var/log/valetkey/audit.log", "`path` of the audit log; nothing is issued, ended or revoked while it cannot be written")
	f.IntVar(&o.auditMaxSizeMB, "audit-max-size", 100, "size in `MiB` at which the audit log is rotated")
	f.IntVar(&o.auditBackups, "audit-backups", 0, "how many rotated audit logs are kept (default 0: all)")
}

func (o *options) addRequests(f *pflag.FlagSet) {
	f.DurationVar(&o.jobTimeout, "job-timeout", 10*time.Minute, "how long a request waits for its Job")
	f.DurationVar(&o.retention, "retention", 7*24*time.Hour, "how long an ended request and its grant are kept")
	f.StringVar(&o.identityExtraKey, "identity-extra-key", "", "`key` of a user's extra, such as example.com/employee-id, whose value is the same for one person under every user name; nobody approves twice, or their own request, under another name (default: none, the user name alone)")
	f.IntVar(&o.workers, "workers", 64, "how many requests, and grants, are worked on at the same time")
}

func (o *options) addOutbound(f *pflag.FlagSet) {
	f.StringVar(&o.httpsProxy, "https-proxy", "", "`URL` of a forward proxy by which https:// back ends and collectors of traces are reached, such as http://proxy.example.com:3128 (default: none, and no variable of the environment names one)")
	f.StringArrayVar(&o.noProxy, "no-proxy", nil, "`host`, domain, address or range of addresses that is reached without the proxy, as in NO_PROXY; can be repeated (default: loopback alone)")
	f.StringVar(&o.caFile, "ca-file", "", "`path` of a file of certificate authorities, in PEM, that are trusted beside the system's by back ends without a caBundle of their own, and for the proxy; it is read at the start (default: none)")
}

func (o *options) addAWS(f *pflag.FlagSet) {
	f.StringArrayVar(&o.awsEndpoints, "aws-endpoint", nil, "`URL` that a CapabilityProvider may name as stsEndpoint, iamEndpoint or serviceEndpoint; can be repeated (default: AWS's own alone)")
	f.StringArrayVar(&o.awsAudiences, "aws-audience", []string{"sts.amazonaws.com"}, "`audience` that a CapabilityProvider may name; can be repeated")
}

func (o *options) addKubernetes(f *pflag.FlagSet) {
	f.StringArrayVar(&o.kubernetesServers, "kubernetes-server", []string{defaultServer}, "`URL` of the API server that a CapabilityProvider may name, as Pods reach it; can be repeated")
}

func (o *options) addVault(f *pflag.FlagSet) {
	f.StringArrayVar(&o.vaultAddresses, "vault-address", nil, "`URL` of a Vault that a CapabilityProvider may name; can be repeated (default: none)")
	f.StringArrayVar(&o.vaultAudiences, "vault-audience", []string{"vault"}, "`audience` that a CapabilityProvider may name; can be repeated")
}

func (o *options) addGCP(f *pflag.FlagSet) {
	f.StringArrayVar(&o.gcpEndpoints, "gcp-endpoint", nil, "`URL` that a CapabilityProvider may name as stsEndpoint or iamCredentialsEndpoint; can be repeated (default: Google's own alone)")
	f.StringArrayVar(&o.gcpAudiences, "gcp-audience", nil, "https://iam.googleapis.com/ and the workloadIdentityProvider that a CapabilityProvider may name, as one `audience`; can be repeated (default: none)")
}

func (o *options) addGitHub(f *pflag.FlagSet) {
	f.StringArrayVar(&o.githubAPIs, "github-api", nil, "`URL` of a GitHub API that a CapabilityProvider may name; can be repeated (default: GitHub's own alone)")
}

func (o *options) addTokens(f *pflag.FlagSet) {
	f.StringArrayVar(&o.signerPlaces, "signer", nil, "`NAME=PLACE` of a key that CapabilityProviders know by that name: the path of a private key in PEM, in a volume, or unix:///path/to/socket of an external signer; can be repeated (default: none)")
	f.StringVar(&o.tokenIssuer, "token-issuer", "", "`URL` at which internal services reach this operator as an issuer of signed tokens (default: none, none are issued)")
	f.StringVar(&o.tokenSigner, "token-signer", "", "`name` of the --signer that signs them (default: none)")
	f.StringVar(&o.tokenAddress, "token-address", ":8443", "`address` at which discovery, keys and introspection are served, with --token-issuer")
	f.StringVar(&o.tokenCertDir, "token-cert-dir", "", "`directory` of tls.crt and tls.key for that address, which may be renewed (default: none, plain HTTP for a proxy of the Pod's own)")
}

func (o *options) addReplicas(f *pflag.FlagSet) {
	f.BoolVar(&o.leaderElect, "leader-elect", true, "let one of several operators work at a time")
	f.DurationVar(&o.leaseDuration, "leader-lease", 15*time.Second, "how long a leader that is not heard of keeps its lease")
}

func (o *options) addLooks(f *pflag.FlagSet) {
	f.StringVar(&o.metricsAddress, "metrics-address", ":8080", "`address` of the metrics; 0 turns them off")
	f.StringVar(&o.traceEndpoint, "trace-endpoint", "", "`URL` of a collector that takes traces by OTLP over HTTP, such as https://collector.example.com:4318 (default: none, no traces are sent)")
	f.StringVar(&o.healthAddress, "health-address", ":8081", "`address` of /healthz and /readyz")
	f.StringVar(&o.pprofAddress, "pprof-address", "", "`address` of Go's profiles, such as :6060, which is of loopback alone: name a host to serve them elsewhere (default: none, no profiles are served)")
	f.BoolVar(&o.verbose, "verbose", false, "log every step (default false)")
}
