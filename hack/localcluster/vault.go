// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/valetkey/valetkey/hack/localcluster/supervisor"
)

const (
	vaultServer      = "vault"
	vaultPostgres    = "postgresql-database-plugin"
	vaultKubernetes  = "vault-plugin-auth-kubernetes"
	postgres         = "postgres"
	postgresPrograms = "/usr/lib/postgresql/15/bin/"
	postgresData     = "/var/lib/postgres"
	postgresRoot     = "root"
	postgresSecret   = "rootsecret" // of a server that only this machine reaches and that ends with its cluster
	vaultToken       = "root"       // likewise
	vaultPlugins     = "vault-plugins"
)

// Vault tells how to reach the cluster's Vault, and the PostgreSQL that it makes users of.
type Vault struct {
	// Address is Vault's for the host, InCluster for Pods and alike in every cluster. RootToken may do everything.
	Address, InCluster, RootToken string
	// PostgresHost and InClusterPostgresHost are where PostgreSQL listens, on PostgresPort. There is one database, Database.
	PostgresHost, InClusterPostgresHost, Database string
	PostgresPort                                  int

	issuerCA string
}

// Vault returns nil for a cluster that was started without.
func (c *Cluster) Vault() *Vault {
	if !c.rec.Vault {
		return nil
	}
	at := func(address string) string { return "http://" + net.JoinHostPort(address, strconv.Itoa(vaultPort)) }
	return &Vault{
		Address: at(c.Address()), InCluster: at(vaultAddress), RootToken: vaultToken,
		PostgresHost: c.Address(), InClusterPostgresHost: vaultAddress, PostgresPort: postgresPort, Database: "previews",
		issuerCA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ca.cert.Raw})),
	}
}

// Client has root's rights.
func (v *Vault) Client() (*api.Client, error) {
	client, err := api.NewClient(&api.Config{Address: v.Address, HttpClient: direct(), MaxRetries: -1})
	if err != nil {
		return nil, err
	}
	client.SetToken(v.RootToken)
	return client, nil
}

// VaultRole is a role by which one ServiceAccount of the cluster gets users of the database.
type VaultRole struct {
	Name           string
	Namespace      string
	ServiceAccount string
	Audience       string
	// TokenTTL is how long a login lives.
	TokenTTL time.Duration
	// Databases are the roles of the database engine that may be read.
	Databases []string
}

// vaultPolicy is what docs/backends/vault.md gives.
const vaultPolicy = `path "database/creds/%s" { capabilities = ["read"] }
`

const vaultEnding = `path "auth/token/create" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
`

// EnsureRole makes the cluster's issuer known to Vault's JWT auth method, and a role of it.
func (v *Vault) EnsureRole(ctx context.Context, role VaultRole) error {
	client, err := v.Client()
	if err != nil {
		return err
	}
	if err := v.enable(ctx, client.Sys().EnableAuthWithOptionsWithContext(ctx, "jwt", &api.EnableAuthOptions{Type: "jwt"})); err != nil {
		return err
	}
	policy := vaultEnding
	for _, database := range role.Databases {
		policy += fmt.Sprintf(vaultPolicy, database)
	}
	if err := client.Sys().PutPolicyWithContext(ctx, role.Name, policy); err != nil {
		return err
	}
	_, first := client.Logical().WriteWithContext(ctx, "auth/jwt/config", map[string]any{
		"jwks_url": issuerURL + "/openid/v1/jwks", "jwks_ca_pem": v.issuerCA, "bound_issuer": issuerURL,
	})
	_, second := client.Logical().WriteWithContext(ctx, "auth/jwt/role/"+role.Name, map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{role.Audience}, "token_policies": []string{role.Name},
		"bound_subject": "system:serviceaccount:" + role.Namespace + ":" + role.ServiceAccount, "token_ttl": role.TokenTTL.String(),
	})
	return errors.Join(first, second)
}

// enable bears that a mount is there already.
func (*Vault) enable(_ context.Context, err error) error {
	if answer := (*api.ResponseError)(nil); errors.As(err, &answer) && strings.Contains(answer.Error(), "already in use") {
		return nil
	}
	return err
}

// SQL runs statements in the database, with all rights.
func (v *Vault) SQL(ctx context.Context, statements ...string) error {
	connection, err := pgx.Connect(ctx, v.AdminString())
	if err != nil {
		return err
	}
	defer connection.Close(context.WithoutCancel(ctx))
	for _, statement := range statements {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// AdminString connects to the database with all rights.
func (v *Vault) AdminString() string {
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", postgresRoot, postgresSecret, v.PostgresHost, v.PostgresPort, v.Database)
}

// createUser makes a user of the database that can do what a group can, connecting included. Rights of its own would stand in a row that all
// users of a table share, and whoever has one of those can lock that row: no other user could be made, or ended.
const createUser = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' CONNECTION LIMIT 10 IN ROLE "%s"`

// endUser ends a user of the database. What a step did with its user can keep PostgreSQL from changing or dropping it, and a statement that
// fails undoes all of its transaction: so what cannot be held up comes first, and in a transaction of its own, for who logs in before that is
// stored reads on. It takes the user out of its group, without which it can connect to nothing; no user can lock that row. Then the sessions are
// ended that came until then, and the user is dropped, if that works within seconds.
func endUser(group string) []string {
	return []string{fmt.Sprintf(lockOut, group), "COMMIT", "BEGIN", "SET LOCAL statement_timeout = '10s'", drop}
}

const lockOut = `DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{{name}}') THEN
    REVOKE "%s" FROM "{{name}}";
  END IF;
END $$`

const drop = `DO $$ BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';
  SET LOCAL lock_timeout = '1s';
  BEGIN
    ALTER ROLE "{{name}}" NOLOGIN PASSWORD NULL;
  EXCEPTION WHEN query_canceled OR OTHERS THEN
    RAISE WARNING 'user {{name}} can connect to nothing, and keeps its password: %', SQLERRM;
  END;
  BEGIN
    DROP OWNED BY "{{name}}";
    DROP ROLE "{{name}}";
  EXCEPTION WHEN query_canceled OR OTHERS THEN
    RAISE WARNING 'user {{name}} can connect to nothing, and stays: %', SQLERRM;
  END;
END $$`

// EnsureDatabase makes roles of the database engine, as docs/backends/vault.md advises: each with the table that its users may read,
// or none.
func (v *Vault) EnsureDatabase(ctx context.Context, roles map[string]string) error {
	client, err := v.Client()
	if err != nil {
		return err
	}
	if err := v.enable(ctx, client.Sys().MountWithContext(ctx, "database", &api.MountInput{Type: "database"})); err != nil {
		return err
	}
	_, err = client.Logical().WriteWithContext(ctx, "database/config/previews", map[string]any{
		"plugin_name": vaultPostgres, "allowed_roles": "*", "username": postgresRoot, "password": postgresSecret,
		"connection_url": fmt.Sprintf("postgresql://{{username}}:{{password}}@127.0.0.1:%d/%s?sslmode=disable", postgresPort, v.Database),
	})
	for name, table := range roles {
		group := name + "-users"
		made := []string{
			fmt.Sprintf(`DO $$ BEGIN CREATE ROLE "%s"; EXCEPTION WHEN duplicate_object THEN NULL; END $$`, group),
			`REVOKE CONNECT ON DATABASE ` + v.Database + `, postgres, template1 FROM PUBLIC`,
			`GRANT CONNECT ON DATABASE ` + v.Database + ` TO "` + group + `"`,
		}
		if table != "" {
			made = append(made, `GRANT SELECT ON `+table+` TO "`+group+`"`)
		}
		if failure := v.SQL(ctx, made...); failure != nil {
			return errors.Join(err, failure)
		}
		_, failure := client.Logical().WriteWithContext(ctx, "database/roles/"+name, map[string]any{
			"db_name": "previews", "default_ttl": "65m", "max_ttl": "65m",
			"creation_statements": []string{fmt.Sprintf(createUser, group)}, "revocation_statements": endUser(group),
		})
		err = errors.Join(err, failure)
	}
	return err
}

func (c *Cluster) startVault(ctx context.Context) error {
	if err := errors.Join(c.copyPlugins(), os.MkdirAll(c.rec.path(postgresData), 0o700), chownTo(postgres, c.rec.path(postgresData))); err != nil {
		return err
	}
	if err := c.startPrograms(postgres, vaultServer); err != nil {
		return err
	}
	return c.waitVault(ctx)
}

func (c *Cluster) waitVault(ctx context.Context) error {
	err := c.wait(ctx, postgres, postgres, func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(c.Address(), strconv.Itoa(postgresPort)))
		if err != nil {
			return err
		}
		return connection.Close()
	})
	if err != nil {
		return err
	}
	return c.wait(ctx, vaultServer, vaultServer, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Vault().Address+"/v1/sys/health", http.NoBody)
		if err != nil {
			return err
		}
		answer, err := direct().Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", answer.Status)
		}
		return nil
	})
}

// copyPlugins puts the plug-ins into one folder, as Vault wants them. It runs no link that leads out of it.
func (c *Cluster) copyPlugins() error {
	folder := c.rec.path(vaultPlugins)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, name := range []string{vaultPostgres, vaultKubernetes} {
		if err := copyProgram(c.rec.programs().host(name), filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// vault is a server in memory, open from the start.
func (c *Cluster) vault() supervisor.Program {
	return c.program(vaultServer, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id="+vaultToken,
		"-dev-plugin-dir="+stateInside+"/"+vaultPlugins, fmt.Sprintf("-dev-listen-address=0.0.0.0:%d", vaultPort))
}

// postgresScript makes the database at the first start. PostgreSQL does not run as root.
const postgresScript = `set -e
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
cd /
if [ ! -f %[1]s/PG_VERSION ]; then
	echo '%[4]s' > %[1]s.password
	$as %[2]sinitdb --pgdata=%[1]s --username=%[3]s --pwfile=%[1]s.password --auth=scram-sha-256 --no-sync
	echo 'host all all all scram-sha-256' >> %[1]s/pg_hba.conf
	echo 'CREATE DATABASE previews' | $as %[2]spostgres --single -D %[1]s postgres
fi
rm -f %[1]s/postmaster.pid
exec $as %[2]spostgres -D %[1]s -c listen_addresses=* -c port=%[5]d -c unix_socket_directories= -c fsync=off
`

func (c *Cluster) postgres() supervisor.Program {
	p := c.program(vaultServer) // for its environment
	p.Name, p.Path = postgres, "/bin/sh"
	p.Args = []string{"-c", fmt.Sprintf(postgresScript, postgresData, postgresPrograms, postgresRoot, postgresSecret, postgresPort)}
	return p
}

// chownTo gives a folder to a user of the machine.
func chownTo(name, folder string) error {
	account, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, first := strconv.Atoi(account.Uid)
	gid, second := strconv.Atoi(account.Gid)
	return errors.Join(first, second, os.Chown(folder, uid, gid))
}
