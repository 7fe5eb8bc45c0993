"""What a backup of the pair is made of, and what a restore takes apart again.

moments      one moment of all databases, whose snapshots the dumps take over
programs     PostgreSQL's own programs: which of those on this machine will do
dumping      one dump, through `encryption` where it is asked for
manifest     the manifest as a file, and whether the files beside it are those it names
contents     what a database holds, as far as backups compare it
restorable   whether a backup can be restored here, before anything is touched
filling      databases from their dumps, each by `restoring`, in place or `beside` those they are to replace
likeness     a new database that is like another one
sizes        progress in bytes
"""
