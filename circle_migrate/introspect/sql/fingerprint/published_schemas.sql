-- since 15
SELECT sum(hashtextextended(to_jsonb(n)::text, 13)) FROM pg_publication_namespace n
