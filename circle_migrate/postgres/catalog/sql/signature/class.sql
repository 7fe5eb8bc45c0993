SELECT relation, oid::bigint, version, location FROM place
