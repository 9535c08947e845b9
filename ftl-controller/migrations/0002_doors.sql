-- Addresses of this machine at which the Controller listened for Runners on some platform, as JSON by platform's name.
ALTER TABLE meta ADD COLUMN doors TEXT NOT NULL DEFAULT '{}';
