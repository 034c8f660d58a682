// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"
)

// log is a place for an audit log that can be written.
func log(t *testing.T) string {
	t.Helper()
	return "--audit-file=" + filepath.Join(t.TempDir(), "audit.log")
}

// absurd is one flag, or a few, that make no sense, and what is said.
type absurd struct{ args, want string }

func absurdNamesAndNumbers() []absurd {
	const name = "want the name of a namespace: lower case letters, digits and dashes, 63 at most"
	return []absurd{
		{"--namespace=", `--namespace "": ` + name},
		{"--namespace=Agents", `--namespace "Agents": ` + name},
		{"--identities-namespace=a.b", `--identities-namespace "a.b": ` + name},
		{"--identities-namespace=valetkey-system", `--identities-namespace "valetkey-system": want another namespace than the operator's own: Pods run there, and could have the identities' tokens`},
		{"--watch-namespace=", `--watch-namespace "": ` + name},
		{"--watch-namespace=a,b", `--watch-namespace "a,b": ` + name},
		{"--watch-namespace=" + strings.Repeat("a", 64), `--watch-namespace "` + strings.Repeat("a", 64) + `": ` + name},
		{"--watch-namespace=a --watch-namespace=b --watch-namespace=a", `--watch-namespace "a": it is given twice: keep one`},
		{"--watch-namespace=valetkey-system", `--watch-namespace "valetkey-system": want a namespace of agents, not the operator's own or the identities'`},
		{"--watch-namespace=valetkey-identities", `--watch-namespace "valetkey-identities": want a namespace of agents, not the operator's own or the identities'`},
		{"--audit-max-size=0", "--audit-max-size 0: want 1 to 100000"},
		{"--audit-max-size=-1", "--audit-max-size -1: want 1 to 100000"},
		{"--audit-max-size=100Mi", `--audit-max-size "100Mi": want a whole number`},
		{"--audit-backups=-1", "--audit-backups -1: want 0 to 100000"},
		{"--workers=0", "--workers 0: want 1 to 1000"},
		{"--workers=10000000", "--workers 10000000: want 1 to 1000"},
		{"--workers=99999999999999999999", `--workers "99999999999999999999": want a whole number`},
		{"--workers=", `--workers "": want a whole number`},
		{"--workers", "--workers: want a value"},
		{"--namespace --workers=4", "--namespace: want a value"},
		{"--workers=4 --workers=5", "--workers: it is given twice: keep one"},
		{"--job-timeout=0s", "--job-timeout 0s: want 1s to 24h0m0s"},
		{"--job-timeout=-10m", "--job-timeout -10m0s: want 1s to 24h0m0s"},
		{"--job-timeout=25h", "--job-timeout 25h0m0s: want 1s to 24h0m0s"},
		{"--job-timeout=10", `--job-timeout "10": want a time with its unit, such as 90s, 10m or 168h`},
		{"--retention=0s", "--retention 0s: want 1s to 87600h0m0s"},
		{"--retention=7d", `--retention "7d": want a time with its unit, such as 90s, 10m or 168h`},
		{"--leader-lease=100ms", "--leader-lease 100ms: want 1s to 10m0s"},
		{"--leader-lease=1h", "--leader-lease 1h0m0s: want 1s to 10m0s"},
		{"--leader-elect=perhaps", `--leader-elect "perhaps": want true or false`},
		{"--verbose no", `"no": only flags are expected`},
	}
}

func absurdPlaces() []absurd {
	return []absurd{
		{"--aws-endpoint=", `--aws-endpoint "": want the URL of a server, such as https://sts.example.com`},
		{"--aws-endpoint=sts.example.com", `--aws-endpoint "sts.example.com": want the URL of a server, such as https://sts.example.com`},
		{"--aws-endpoint=ftp://sts.example.com", `--aws-endpoint "ftp://sts.example.com": want the URL of a server, such as https://sts.example.com`},
		{"--aws-endpoint=https://:443", `--aws-endpoint "https://:443": want the URL of a server, such as https://sts.example.com`},
		{"--aws-endpoint=https://a.example --aws-endpoint=https://a.example", `--aws-endpoint "https://a.example": it is given twice: keep one`},
		{"--aws-endpoint=https://user:hunter2@sts.example.com", `--aws-endpoint "…@sts.example.com": want the URL of a server, such as https://sts.example.com`},
		{"--gcp-endpoint=https://sts.example.com/v1?key=hunter2", `--gcp-endpoint "https://sts.example.com/v1?…": want the URL of a server, such as https://sts.example.com`},
		{"--vault-address=vault:8200", `--vault-address "vault:8200": want the URL of a server, such as https://vault.example.com:8200`},
		{"--trace-endpoint=collector:4318", `--trace-endpoint "collector:4318": want the URL of a server, such as https://collector.example.com:4318`},
		{"--github-api=https://github.example.com/api/v4", `--github-api "https://github.example.com/api/v4": want the URL of a server, such as https://github.example.com/api/v3`},
		{"--kubernetes-server=http://kubernetes.default.svc", `--kubernetes-server "http://kubernetes.default.svc": want the URL of a server, such as https://kubernetes.default.svc`},
		{"--no-proxy=example.com", "--no-proxy: it is of no use without --https-proxy: name the proxy's URL, or leave it out"},
		{"--aws-audience=", `--aws-audience "": want an audience, without blanks`},
		{"--vault-audience=a --vault-audience=a", `--vault-audience "a": it is given twice: keep one`},
		{"--identity-extra-key=", `--identity-extra-key "": want a key such as example.com/employee-id`},
		{"--identity-extra-key=\t", `--identity-extra-key "\t": want a key such as example.com/employee-id`},
		{"--metrics-address=8080", `--metrics-address "8080": want HOST:PORT or :PORT, such as :8080`},
		{"--metrics-address=:http", `--metrics-address ":http": want HOST:PORT or :PORT, such as :8080`},
		{"--metrics-address=:65536", `--metrics-address ":65536": want HOST:PORT or :PORT, such as :8080`},
		{"--metrics-address=a_b:80", `--metrics-address "a_b:80": want HOST:PORT or :PORT, such as :8080`},
		{"--health-address=", `--health-address "": want HOST:PORT or :PORT, such as :8080`},
		{"--health-address=0", `--health-address "0": want HOST:PORT or :PORT, such as :8080`},
		{"--health-address=:8080", `--metrics-address ":8080": --health-address ":8080" is there already: want another port`},
		{"--pprof-address=", `--pprof-address "": want HOST:PORT or :PORT, such as :8080`},
		{"--pprof-address=0", `--pprof-address "0": want HOST:PORT or :PORT, such as :8080`},
		{"--pprof-address=:8081", `--pprof-address ":8081": --health-address ":8081" is there already: want another port`},
		{"--health-address=127.0.0.1:8080", `--metrics-address ":8080": --health-address "127.0.0.1:8080" is there already: want another port`},
	}
}

func absurdProxies() []absurd {
	const (
		proxy    = "want the URL of a proxy, such as http://proxy.example.com:3128"
		password = "a flag is no place for a password, since whoever may read the Pod reads it: leave out what stands before the @, " +
			"and have the proxy know the operator by its address"
		entry = "want one host, domain, address or range of addresses, such as vault.example.com, .example.com, 10.0.0.7 or 10.0.0.0/8; " +
			"repeat the flag for another"
		by = "--https-proxy=http://proxy.example.com:3128 "
	)
	return []absurd{
		{"--https-proxy=", `--https-proxy "": ` + proxy},
		{"--https-proxy=proxy.example.com:3128", `--https-proxy "proxy.example.com:3128": ` + proxy},
		{"--https-proxy=http://", `--https-proxy "http://": ` + proxy},
		{"--https-proxy=http://:3128", `--https-proxy "http://:3128": ` + proxy},
		{"--https-proxy=http://proxy.example.com:31288888", `--https-proxy "http://proxy.example.com:31288888": ` + proxy},
		{"--https-proxy=http://proxy.example.com/path", `--https-proxy "http://proxy.example.com/path": ` + proxy},
		{"--https-proxy=http://proxy.example.com?key=hunter2", `--https-proxy "http://proxy.example.com?…": ` + proxy},
		{"--https-proxy=socks5://proxy.example.com:1080", `--https-proxy "socks5://proxy.example.com:1080": ` + proxy},
		{"--https-proxy=http://me:hunter2@proxy.example.com:3128", `--https-proxy "…@proxy.example.com:3128": ` + password},
		{"--https-proxy=me:hunter2@proxy.example.com:3128", `--https-proxy "…@proxy.example.com:3128": ` + password},
		{"--https-proxy=http://me:hun%zzter2@proxy.example.com", `--https-proxy "…@proxy.example.com": ` + password},
		{"--https-proxy=http://me%3Ahunter2%40proxy.example.com:3128", `--https-proxy "…": want the URL of a proxy without anything escaped, which could be a password, such as http://proxy.example.com:3128`},
		{"--https-proxy= http://me:hunter2@proxy.example.com", `"…@proxy.example.com": only flags are expected` + "\n" + `--https-proxy "": ` + proxy},
		{strings.TrimSpace(by + by), "--https-proxy: it is given twice: keep one"},
		{by + "--no-proxy=", `--no-proxy "": ` + entry},
		{by + "--no-proxy=*", `--no-proxy "*": ` + entry},
		{by + "--no-proxy=a.example.com,b.example.com", `--no-proxy "a.example.com,b.example.com": ` + entry},
		{by + "--no-proxy=https://a.example.com", `--no-proxy "https://a.example.com": ` + entry},
		{by + "--no-proxy=svc --no-proxy=svc", `--no-proxy "svc": it is given twice: keep one`},
		{"--ca-file=", `--ca-file "": want the absolute path of a file of certificate authorities in PEM`},
		{"--ca-file=ca.crt", `--ca-file "ca.crt": want the absolute path of a file of certificate authorities in PEM`},
		{"--ca-file=/nowhere/ca.crt", `--ca-file "/nowhere/ca.crt": want a file of certificate authorities in PEM that can be read: open /nowhere/ca.crt: no such file or directory`},
		{"--ca-file=/proc/self", `--ca-file "/proc/self": want a file of certificate authorities in PEM that can be read: read /proc/self: is a directory`},
		{"--ca-file=/dev/null", `--ca-file "/dev/null": it holds no certificate in PEM`},
	}
}

func absurdKeysAndWords() []absurd {
	return []absurd{
		{"--signer=internal", `--signer "internal": want NAME=PLACE: want the absolute path of a private key, or unix:///path/to/socket`},
		{"--signer=hunter2=hunter2", `--signer "hunter2": want NAME=PLACE: want the absolute path of a private key, or unix:///path/to/socket`},
		{"--signer=Hunter2=/key.pem", "--signer: want NAME=PLACE: the name is of lower case letters, digits and dashes"},
		{"--signer=a=/key.pem --signer=a=/other.pem", `--signer "a": want NAME=PLACE: the name stands twice`},
		{"--token-issuer=", `--token-issuer "": want the URL of a server, such as https://valetkey.example.com, or leave it out`},
		{"--token-address=:9443", "--token-address: it is of no use without --token-issuer: name the issuer's URL, or leave it out"},
		{"--token-issuer=https://t.example --token-signer=a", `--token-signer "a": want the name of a --signer, for --token-issuer`},
		{"--token-issuer=https://t.example --token-signer= --signer=a=/k", `--token-signer "": want the name of a --signer, for --token-issuer`},
		{"--token-issuer=t.example --token-signer=a --signer=a=/k", `--token-issuer "t.example": want the URL of a server, such as https://valetkey.example.com`},
		{"--token-issuer=https://t.example/ --token-signer=a --signer=a=/k", `--token-issuer "https://t.example/": it stands in tokens, and whoever verifies them compares it letter by letter: write it in lower case and without a slash at its end`},
		{"--token-issuer=https://T.example --token-signer=a --signer=a=/k", `--token-issuer "https://T.example": it stands in tokens, and whoever verifies them compares it letter by letter: write it in lower case and without a slash at its end`},
		{"--token-issuer=https://t.example --token-signer=a --signer=a=/k --token-address=:8081", `--token-address ":8081": --health-address ":8081" is there already: want another port`},
		{"--token-issuer=https://t.example --token-signer=a --signer=a=/k --token-cert-dir=/nowhere", `--token-cert-dir "/nowhere": want a directory with tls.crt and tls.key that fit each other: open /nowhere/tls.crt: no such file or directory`},
		{"--wokers=5", "--wokers: there is no such flag; did you mean --workers?"},
		{"--wokers 5", "--wokers: there is no such flag; did you mean --workers?"},
		{"-verbose", "-verbose: there is no such flag; did you mean --verbose?"},
		{"--frobnicate=1", "--frobnicate: there is no such flag"},
		{"serve", `"serve": only flags are expected`},
	}
}

func TestWhatCannotWorkIsRefusedByTheFlagItsValueAndWhatToDo(t *testing.T) {
	for _, row := range slices.Concat(absurdNamesAndNumbers(), absurdPlaces(), absurdProxies(), absurdKeysAndWords()) {
		t.Run(row.args, func(t *testing.T) {
			_, err := parse(append([]string{log(t)}, strings.Split(row.args, " ")...))
			if err == nil || err.Error() != row.want {
				t.Errorf("%v\nwant %s", err, row.want)
			}
		})
	}
}

func TestAnAuditLogThatCannotBeWrittenIsRefusedAtOnce(t *testing.T) {
	folder := t.TempDir()
	for path, want := range map[string]string{
		"":                                   `--audit-file "": want an absolute path; nothing is issued without an audit log`,
		"audit.log":                          `--audit-file "audit.log": want an absolute path; nothing is issued without an audit log`,
		folder:                               `--audit-file "` + folder + `": it is a directory: want the path of a file in it`,
		filepath.Join(folder, "no", "a.log"): `--audit-file "` + folder + `/no/a.log": no file can be made in ` + folder + `/no: mount a volume there that the operator's user may write (fsGroup)`,
		"/proc/self/cmdline/audit.log":       `--audit-file "/proc/self/cmdline/audit.log": no file can be made in /proc/self/cmdline: mount a volume there that the operator's user may write (fsGroup)`,
	} {
		if _, err := parse([]string{"--audit-file=" + path}); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
		t.Errorf("looking made %v, %v", entries, err)
	}
}

func TestEveryProblemIsToldAtOnceAndNothingIsStarted(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := Run(context.Background(), []string{"--wokers", "5", "--retention=0s", "--workers=x", "--metrics-address=:8081", log(t)}, &stdout, &stderr, clock.RealClock{})
	want := `--wokers: there is no such flag; did you mean --workers?
--workers "x": want a whole number
--retention 0s: want 1s to 87600h0m0s
--metrics-address ":8081": --health-address ":8081" is there already: want another port
manager --help lists the flags; nothing was started
`
	if diff := cmp.Diff(want, stderr.String()); code != 2 || stdout.Len() > 0 || diff != "" {
		t.Errorf("exit %d, stdout %q\n%s", code, stdout.String(), diff)
	}
}

func TestWhatIsGivenArrivesAndWhatIsNotHasItsDefault(t *testing.T) {
	o, err := parse([]string{"--watch-namespace", "agents", "--watch-namespace=others", "--aws-audience=mine", "--retention=1h", "--verbose", "--leader-elect=false", "--metrics-address=0", log(t)})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{o.watchNamespaces, o.awsAudiences, o.retention, o.verbose, o.leaderElect, o.metricsAddress, o.vaultAudiences, o.kubernetesServers, o.workers}
	want := []any{[]string{"agents", "others"}, []string{"mine"}, time.Hour, true, false, "0", []string{"vault"}, []string{defaultServer}, 64}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !o.watches("agents") || o.watches("elsewhere") || !(options{}).watches("elsewhere") {
		t.Error("an operator watches what it is told to, or everything")
	}
}

// TestHelpTellsEveryFlagItsDefaultAndWhereToReadOn: the library leaves out a default that is nothing, and the words have to tell it.
func TestHelpTellsEveryFlagItsDefaultAndWhereToReadOn(t *testing.T) {
	if _, err := parse([]string{"--workers=0", "--help"}); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("--help beside a problem: %v", err)
	}
	var stdout, stderr bytes.Buffer
	if code := Run(context.Background(), []string{"--help"}, &stdout, &stderr, clock.RealClock{}); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
	if !strings.Contains(stdout.String(), "docs/configuration.md") {
		t.Error("it does not say where to read on")
	}
	o := &options{}
	for _, g := range o.groups() {
		if !strings.Contains(stdout.String(), "\n"+g.title+":\n") {
			t.Errorf("no group %q", g.title)
		}
		g.flags.VisitAll(func(f *pflag.Flag) {
			one := pflag.NewFlagSet("", pflag.ContinueOnError)
			one.AddFlag(f)
			if usage := one.FlagUsages(); !strings.Contains(usage, "(default") || f.Name != "leader-elect" && f.Name != "verbose" && strings.Contains(usage, " string ") {
				t.Errorf("no default, or no word for its value: %s", usage)
			}
		})
	}
	for line := range strings.Lines(stdout.String()) {
		if len([]rune(line)) > 122 {
			t.Errorf("a line of %d characters: %s", len([]rune(line)), line)
		}
	}
}

// TestTheDocumentTellsEveryFlagAndItsDefault keeps docs/configuration.md from drifting: each flag has a row, under its group's title, and no row is of none.
func TestTheDocumentTellsEveryFlagAndItsDefault(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^(?:### (.*)|\\| `--([a-z-]+)` \\| `?([^|`]*)`? \\|.*)$")
	var want, got []string
	for _, m := range rows.FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1]+m[2]+" "+m[3])
	}
	o := &options{}
	for _, g := range o.groups() {
		want = append(want, g.title+" ")
		g.flags.VisitAll(func(f *pflag.Flag) {
			value := strings.Trim(f.DefValue, "[]")
			if value == "" {
				value = "none"
			}
			want = append(want, f.Name+" "+value)
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
