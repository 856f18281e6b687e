import { ProtectCommand } from '../../core/cli/protect-command.ts'

export default class LunUnprotect extends ProtectCommand {
  static override summary = 'Take the protection of a LUN away'
  static override examples = ['lunar lun unprotect tank/db', 'lunar lun unprotect db --pool tank --dry-run']
  protected readonly protect = false
}
